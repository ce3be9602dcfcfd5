"""An adapter that is loaded and does nothing is found, however it came about."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer

from whisper_peft.errors import AdapterError
from whisper_peft.model.adapters import attaching as adapters
from whisper_peft.model.adapters.activity import check_activity
from whisper_peft.model.adapters.attaching import attach_adapter, load_adapter, save_adapter
from whisper_peft.model.adapters.scales import scale_update, scaled
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import AdapterSection


@pytest.fixture
def fresh(tiny_en: Whisper) -> Whisper:
    """Return a tiny.en with an untrained adapter."""
    whisper = replace(tiny_en, model=copy.deepcopy(tiny_en.model))
    attach_adapter(whisper, AdapterSection(r=2, targets=("q_proj",)), seed=0)
    return whisper


@pytest.fixture
def tuned(fresh: Whisper) -> Whisper:
    """Return the same with an update, as after training."""
    with torch.no_grad():
        for layer in lora_layers(fresh):
            layer.lora_B["default"].weight.fill_(0.02)
    return fresh


def lora_layers(whisper: Whisper) -> list[LoraLayer]:
    return [layer for layer in whisper.model.modules() if isinstance(layer, LoraLayer)]


def test_an_active_adapter_passes_and_stays_as_it_was(tuned: Whisper) -> None:
    learning = {name for name, weight in tuned.model.named_parameters() if weight.requires_grad}
    assert check_activity(tuned) is None
    assert {name for name, weight in tuned.model.named_parameters() if weight.requires_grad} == learning
    assert not any(layer.disable_adapters for layer in lora_layers(tuned))


def test_an_untrained_adapter_is_a_warning(fresh: Whisper) -> None:
    assert "untrained" in (check_activity(fresh) or "")


def switch_off(whisper: Whisper) -> None:
    for layer in lora_layers(whisper):
        layer.enable_adapters(False)


def switch_one_off(whisper: Whisper) -> None:
    lora_layers(whisper)[-1].enable_adapters(False)


def run_the_base_layers(whisper: Whisper) -> None:
    """Bypass the adapter in every attention, as a patched forward of another library would."""
    for module in whisper.core.modules():
        if isinstance(getattr(module, "q_proj", None), LoraLayer):
            object.__setattr__(module, "q_proj", module.q_proj.get_base_layer())


def return_the_base(whisper: Whisper) -> None:
    """Let the adapted layers run, and say what their base layers say."""
    for layer in lora_layers(whisper):
        layer.forward = layer.get_base_layer().forward


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (switch_off, "switched off in 12 of 12 layers"),
        (switch_one_off, "switched off in 1 of 12 layers"),
        (run_the_base_layers, "12 of its 12 layers never run"),
        (return_the_base, "equal to the bit"),
    ],
)
def test_an_adapter_that_is_not_applied_is_refused(
    tuned: Whisper, fault: Callable[[Whisper], None], words: str
) -> None:
    fault(tuned)
    with pytest.raises(AdapterError, match=rf"the adapter is not applied - .*{words}"):
        check_activity(tuned)


def test_the_check_takes_less_than_a_second(tuned: Whisper) -> None:
    before = time.process_time()
    check_activity(tuned)
    assert time.process_time() - before < 1


def test_loading_checks_that_the_adapter_is_active(
    tuned: Whisper, tiny_en: Whisper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_adapter(tuned, tmp_path)
    monkeypatch.setattr(adapters, "fuse_lora", lambda model: switch_off(replace(tuned, model=model)))
    with pytest.raises(AdapterError, match="not applied"):
        load_adapter(replace(tiny_en, model=copy.deepcopy(tiny_en.model)), tmp_path)


def test_loading_an_untrained_adapter_warns(
    fresh: Whisper, tiny_en: Whisper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_adapter(fresh, tmp_path)
    with caplog.at_level(logging.WARNING):
        load_adapter(replace(tiny_en, model=copy.deepcopy(tiny_en.model)), tmp_path)
    assert f"{tmp_path}: the adapter is untrained" in caplog.text


def test_a_scale_multiplies_the_update_for_a_while(tuned: Whisper) -> None:
    (layer, *_), update = lora_layers(tuned), {}
    for scale in (0.0, 0.5, 1.0):
        with scaled(tuned, scale):
            update[scale] = layer.get_delta_weight("default").clone()
    assert torch.equal(update[0.0], torch.zeros_like(update[1.0]))
    assert torch.allclose(update[0.5], update[1.0] / 2)
    assert torch.equal(layer.get_delta_weight("default"), update[1.0])
    assert bool(update[1.0].any())


def test_a_finished_update_is_scaled_for_good(tuned: Whisper) -> None:
    (layer, *_) = lora_layers(tuned)
    update = layer.get_delta_weight("default").clone()
    assert scale_update(tuned, AdapterSection()) is None
    assert "multiplied by 0.6" in str(scale_update(tuned, AdapterSection(scale=0.6)))
    assert torch.allclose(layer.get_delta_weight("default"), 0.6 * update)


@pytest.mark.parametrize("fields", [{"use_dora": True}, {"init_lora_weights": "loftq"}])
def test_an_adapter_that_is_more_than_an_update_is_left_as_it_is_and_that_is_said(
    tiny_en: Whisper, fields: dict[str, Any]
) -> None:
    whisper = replace(tiny_en, model=copy.deepcopy(tiny_en.model))
    dora = bool(fields.get("use_dora"))
    attach_adapter(whisper, AdapterSection(r=2, targets=("q_proj",), use_dora=dora), seed=0)
    before = {name: weight.clone() for name, weight in whisper.model.named_parameters() if "lora_" in name}
    assert "adapter.scale 0.6 is left out" in str(scale_update(whisper, AdapterSection(scale=0.6, **fields)))
    assert all(
        torch.equal(weight, before[name])
        for name, weight in whisper.model.named_parameters()
        if "lora_" in name
    )


def test_what_is_more_than_an_update_has_no_scale(tiny_en: Whisper) -> None:
    whisper = replace(tiny_en, model=copy.deepcopy(tiny_en.model))
    with pytest.raises(AdapterError, match="no adapter"), scaled(whisper, 0.5):
        pass
    attach_adapter(whisper, AdapterSection(r=2, targets=("q_proj",), use_dora=True), seed=0)
    with scaled(whisper, 1):
        pass
    with pytest.raises(AdapterError, match="use_dora=True cannot be scaled"), scaled(whisper, 0.5):
        pass
