"""Folded for listening: the same model, and afterwards the very same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor

from whisper_peft.model.adapters.attaching import adapter_model, attach_adapter
from whisper_peft.model.adapters.folding import folded
from whisper_peft.model.loading import Whisper, load_whisper
from whisper_peft.recipe.sections import AdapterSection, ModelSection


def _tuned(adapter: AdapterSection, **fields: Any) -> Whisper:
    """Return tiny.en with an adapter that changes what it says."""
    whisper = load_whisper(ModelSection(name="openai/whisper-tiny.en", device="cpu", **fields))
    attach_adapter(whisper, adapter, seed=0)
    generator = torch.Generator().manual_seed(0)
    for name, weight in whisper.model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.02, generator=generator)
    return whisper


@torch.no_grad()
def _logits(whisper: Whisper) -> Tensor:
    features = torch.randn(1, 80, 200, generator=torch.Generator().manual_seed(1))
    with whisper.precision.autocast(whisper.device):
        states = whisper.core.get_encoder()(features.to(whisper.precision.weights_dtype))
        tokens = torch.tensor([[50257, 50362, 100]])
        logits: Tensor = whisper.core(encoder_outputs=states, decoder_input_ids=tokens).logits
    return logits.float()


def _state(whisper: Whisper) -> dict[str, tuple[int, Tensor]]:
    tensors = whisper.model.state_dict(keep_vars=True)
    return {name: (one.data_ptr(), one.detach().clone()) for name, one in tensors.items()}


def test_a_folded_model_says_the_same_and_gets_its_own_weights_back() -> None:
    whisper = _tuned(AdapterSection(r=4), precision="fp32")
    before, expected = _state(whisper), _logits(whisper)
    with adapter_model(whisper).disable_adapter():
        base = _logits(whisper)
    with folded(whisper):
        assert all(layer.merged for layer in whisper.model.modules() if isinstance(layer, LoraLinear))
        found = _logits(whisper)
    assert (found - expected).abs().max() < 1e-3 < (base - expected).abs().max()
    after = _state(whisper)
    assert after.keys() == before.keys()
    assert all(after[name][0] == before[name][0] for name in before)
    assert all(torch.equal(after[name][1], before[name][1]) for name in before)
    assert torch.equal(_logits(whisper), expected)


def test_weights_come_back_after_an_error() -> None:
    whisper = _tuned(AdapterSection(r=4, targets="attention"))
    before = _state(whisper)
    with pytest.raises(KeyboardInterrupt), folded(whisper):
        raise KeyboardInterrupt
    assert all(torch.equal(value, before[name][1]) for name, (_, value) in _state(whisper).items())
    assert not any(layer.merged for layer in whisper.model.modules() if isinstance(layer, LoraLinear))


@pytest.mark.parametrize(
    ("adapter", "fields"),
    [
        ({"use_dora": True}, {}),
        ({}, {"quantize": "int8"}),
        ({}, {"quantize": "nf4"}),
        ({}, {"precision": "bf16"}),
    ],
    ids=["dora", "int8", "nf4", "bf16"],
)
def test_what_cannot_be_folded_runs_as_it_is(adapter: dict[str, Any], fields: dict[str, Any]) -> None:
    whisper = _tuned(AdapterSection(r=4, targets="attention", **adapter), **fields)
    expected = _logits(whisper)
    with folded(whisper):
        assert torch.equal(_logits(whisper), expected)


def test_the_output_projection_runs_as_it_is_because_it_shares_the_token_embedding() -> None:
    config = LoraConfig(r=4, target_modules=["proj_out", "q_proj"])
    whisper = _tuned(AdapterSection(config=config), precision="fp32")
    expected = _logits(whisper)
    with folded(whisper):
        assert (_logits(whisper) - expected).abs().max() < 1e-3
        assert not whisper.core.proj_out.merged
        assert whisper.core.model.encoder.layers[0].self_attn.q_proj.merged


def test_a_model_without_adapter_is_left_alone(tiny_en: Whisper) -> None:
    before = {name: weight.data_ptr() for name, weight in tiny_en.model.named_parameters()}
    with folded(tiny_en):
        assert {name: weight.data_ptr() for name, weight in tiny_en.model.named_parameters()} == before
