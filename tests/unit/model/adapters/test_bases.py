"""Adapters as other tools write them: repaired, their base recognised, or refused with the reason."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import AdaLoraConfig, LoraConfig
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import WhisperForConditionalGeneration

from whisper_peft.errors import AdapterError
from whisper_peft.model.adapters import bases as adapter_bases
from whisper_peft.model.adapters.bases import find_base
from whisper_peft.model.adapters.folders import read_adapter_config, read_adapter_state
from whisper_peft.model.blueprint import published_config
from whisper_peft.model.library_noise import no_false_alarms_of_peft
from whisper_peft.model.loading import Whisper, load_run_or_model
from whisper_peft.recipe.sections import ModelSection

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def write_by_peft(folder: Path, size: str, config: LoraConfig) -> Path:
    """Write an adapter of a published size by PEFT alone, without its base's weights."""
    shape = published_config(size)
    with torch.device("meta"):
        core = WhisperForConditionalGeneration(shape)
    with no_false_alarms_of_peft():
        model = peft.get_peft_model(core, config)
    state = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    folder.mkdir(parents=True, exist_ok=True)
    saved = model.peft_config["default"]
    saved.base_model_name_or_path = f"openai/whisper-{size}"
    saved.save_pretrained(str(folder))
    generator = torch.Generator().manual_seed(1)
    drawn = {name: torch.randn(tensor.shape, generator=generator) * 0.02 for name, tensor in state.items()}
    save_file(drawn, folder / WEIGHTS)
    return folder


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an adapter with the targets of PEFT's notebook: q_proj and v_proj everywhere."""
    folder = tmp_path_factory.mktemp("notebook")
    return write_by_peft(
        folder, "tiny.en", LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    )


@pytest.fixture
def copied(notebook: Path, tmp_path: Path) -> Path:
    """Return a copy of it that a test may change."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name in (WEIGHTS, CONFIG):
        (folder / name).write_bytes((notebook / name).read_bytes())
    return folder


def change_config(folder: Path, **fields: Any) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def change_names(folder: Path, rename: Callable[[str], str]) -> None:
    state = load_file(folder / WEIGHTS)
    save_file({rename(name): tensor for name, tensor in state.items()}, folder / WEIGHTS)


def change_weights(folder: Path, change: Callable[[str, Tensor], Tensor | None]) -> None:
    changed = {name: change(name, tensor) for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, folder / WEIGHTS)


def logits(whisper: Whisper) -> Tensor:
    features = torch.randn(1, 80, 200, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out: Tensor = whisper.core(input_features=features, decoder_input_ids=torch.tensor([[50257]])).logits
    return out


def load(folder: Path, **fields: Any) -> Whisper:
    return load_run_or_model(str(folder), ModelSection(**{"device": "cpu", **fields}))


@pytest.fixture(scope="module")
def expected(notebook: Path) -> Tensor:
    return logits(load(notebook))


PREFIX = "base_model.model.model."


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: "base_model.model." + name,
        lambda name: name.replace(PREFIX, "model."),
        lambda name: name.replace(PREFIX, ""),
        lambda name: name.replace(PREFIX, "model.model."),
        lambda name: "_orig_mod." + name,
        lambda name: "module." + name,
        lambda name: name.replace(".layers.", "._orig_mod.layers."),
        lambda name: name.replace(".weight", ".default.weight"),
        lambda name: name.replace(".weight", ".my_voice.weight"),
    ],
    ids=[
        "doubled",
        "inner",
        "bare",
        "model.model",
        "compiled",
        "parallel",
        "compiled-part",
        "default",
        "named",
    ],
)
def test_weights_under_other_names_say_the_same(
    rename: Callable[[str], str], copied: Path, expected: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    change_names(copied, rename)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(logits(load(copied)), expected)
    assert caplog.text.count("weights were renamed") == 1


def test_an_int8_notebook_of_2023_is_read(
    copied: Path, expected: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its fields, its half precision, its pickle, and its place in a checkpoint."""
    checkpoint = tmp_path / "checkpoint-100"
    checkpoint.mkdir()
    folder = copied.rename(checkpoint / "adapter_model")
    state = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save({name: tensor.half() for name, tensor in state.items()}, folder / "adapter_model.bin")
    old = {
        "base_model_name_or_path": "openai/whisper-tiny.en",
        "bias": "none",
        "enable_lora": None,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": 8,
        "lora_dropout": 0.05,
        "merge_weights": False,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": 4,
        "target_modules": ["q_proj", "v_proj"],
        "task_type": "SEQ_2_SEQ_LM",
    }
    (folder / CONFIG).write_text(json.dumps(old))
    with caplog.at_level(logging.WARNING):
        assert torch.allclose(logits(load(checkpoint)), expected, atol=0.02)
    assert caplog.text.count("task_type SEQ_2_SEQ_LM is not for Whisper") == 1


def test_an_unsloth_adapter_is_read(copied: Path, expected: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    pattern = r"(?:.*?(?:encoder|decoder).*?(?:self_attn|encoder_attn).*?(?:q_proj|v_proj).*?)"
    mapping = {
        "base_model_class": "WhisperForConditionalGeneration",
        "parent_library": "transformers.models.whisper.modeling_whisper",
        "unsloth_fixed": True,
    }
    name = "unsloth/whisper-tiny.en"
    change_config(
        copied, base_model_name_or_path=name, target_modules=pattern, auto_mapping=mapping, a_new_field=True
    )
    with caplog.at_level(logging.WARNING):
        assert torch.equal(logits(load(copied, name="openai/whisper-tiny.en")), expected)
    assert f"a_new_field: not known to peft {peft.__version__}" in caplog.text


def test_adalora_without_the_total_of_its_steps_is_read(tmp_path: Path) -> None:
    config = AdaLoraConfig(
        init_r=4, target_r=2, tinit=200, tfinal=1000, total_step=5000, lora_alpha=32, target_modules=["fc1"]
    )
    folder = write_by_peft(tmp_path, "tiny.en", config)
    change_config(folder, total_step=None)
    assert load(folder).model.peft_config["default"].peft_type == "ADALORA"


def test_a_configuration_without_its_kind_is_lora_by_its_fields(copied: Path, expected: Tensor) -> None:
    change_config(copied, peft_type="LORA")
    path = copied / CONFIG
    fields = json.loads(path.read_text())
    del fields["peft_type"]
    path.write_text(json.dumps(fields))
    assert torch.equal(logits(load(copied)), expected)


def other_rank(name: str, tensor: Tensor) -> Tensor:
    return tensor[:2].clone() if "lora_A" in name else tensor[:, :2].clone()


def without_a_layer(name: str, tensor: Tensor) -> Tensor | None:
    return None if "encoder.layers.3." in name else tensor


def narrower(name: str, tensor: Tensor) -> Tensor:
    return tensor[:, :256].clone() if "lora_A" in name else tensor[:256].clone()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_rank, r"contradicts itself - .*has rank 2, and its adapter_config\.json says 4"),
        (without_a_layer, r"4 weights are missing, such as model\.encoder\.layers\.3\.self_attn\.q_proj"),
        (narrower, r"of another size - .* has shape \(4, 256\) there and \(4, 384\) in this model"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_the_reason(
    change: Callable[[str, Tensor], Tensor | None], words: str, copied: Path
) -> None:
    change_weights(copied, change)
    with pytest.raises(AdapterError, match=words):
        load(copied, name="openai/whisper-tiny.en")


def test_targets_that_do_not_exist_are_refused(copied: Path) -> None:
    change_config(copied, target_modules=["c_attn"])
    with pytest.raises(AdapterError, match=r"PEFT cannot attach .*c_attn"):
        load(copied)
    change_config(copied, target_modules=["q_proj"])
    with pytest.raises(AdapterError, match=r"have no place in this model, such as .*v_proj"):
        load(copied)


def test_several_adapters_in_one_file_are_refused(copied: Path) -> None:
    state = load_file(copied / WEIGHTS)
    twice = {name.replace(".weight", f".{who}.weight"): t for name, t in state.items() for who in ("a", "b")}
    save_file({name: tensor.clone() for name, tensor in twice.items()}, copied / WEIGHTS)
    with pytest.raises(AdapterError, match="several adapters"):
        load(copied)


def recognised(folder: Path) -> tuple[str, str | None]:
    return find_base(folder, read_adapter_config(folder), read_adapter_state(folder))


def test_a_recorded_base_is_taken_as_it_is(copied: Path) -> None:
    assert recognised(copied) == ("openai/whisper-tiny.en", None)


@pytest.mark.parametrize("recorded", ["/content/models/whisper-tiny.en", r"C:\models\whisper-tiny.en\\"])
def test_a_dead_path_is_told_by_its_end(copied: Path, recorded: str, expected: Tensor) -> None:
    change_config(copied, base_model_name_or_path=recorded)
    name, sentence = recognised(copied)
    assert name == "openai/whisper-tiny.en"
    assert "the end of that path (tiny.en)" in (sentence or "")
    assert torch.equal(logits(load(copied)), expected)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("README.md", "---\nbase_model: openai/whisper-tiny.en\nlibrary_name: peft\n---\n", "model card"),
        ("README.md", "---\nbase_model:\n- openai/whisper-tiny.en\n---\n", "model card"),
        ("added_tokens.json", '{"<|notimestamps|>": 50362}', "51,864 tokens"),
    ],
)
def test_traces_beside_the_adapter_tell_its_base(
    copied: Path, file: str, content: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_bases, "_is_here", lambda size: False)
    change_config(copied, base_model_name_or_path=None)
    (copied / file).write_text(content)
    name, sentence = recognised(copied)
    assert name == "openai/whisper-tiny.en"
    assert words in (sentence or "")


def test_a_trace_of_another_size_does_not_override_the_shapes(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_bases, "_is_here", lambda size: False)
    change_config(copied, base_model_name_or_path="/gone/whisper-small")
    with pytest.raises(AdapterError, match=r"whisper-tiny\.en, openai/whisper-tiny all have its shapes"):
        recognised(copied)


def test_of_two_sizes_with_its_shapes_the_one_at_hand_is_taken_and_said(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_config(copied, base_model_name_or_path=None)
    monkeypatch.setattr(adapter_bases, "_is_here", lambda size: size == "tiny.en")
    name, sentence = recognised(copied)
    assert name == "openai/whisper-tiny.en"
    assert "it names no base" in (sentence or "")
    assert "--model.name" in (sentence or "")


def test_a_turbo_is_known_by_its_shapes_alone(tmp_path: Path) -> None:
    folder = write_by_peft(tmp_path, "large-v3-turbo", LoraConfig(r=1, target_modules=["fc1"]))
    change_config(folder, base_model_name_or_path=None)
    name, sentence = recognised(folder)
    assert name == "openai/whisper-large-v3-turbo"
    assert "by its shapes (width 1280, 32 encoder and 4 decoder layers adapted)" in (sentence or "")


def test_shapes_of_no_whisper_are_refused(copied: Path) -> None:
    change_config(copied, base_model_name_or_path=None)
    change_weights(copied, narrower)
    with pytest.raises(AdapterError, match=r"no published Whisper has its shapes \(width 256"):
        load(copied)


def test_a_base_that_the_caller_names_is_not_looked_for(copied: Path, expected: Tensor) -> None:
    change_config(copied, base_model_name_or_path="/gone")
    assert torch.equal(logits(load(copied, name="openai/whisper-tiny.en")), expected)
