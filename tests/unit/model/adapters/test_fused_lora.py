"""The fused LoRA layer gives PEFT's outputs and gradients, and leaves everything else to PEFT."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from torch import nn

from whisper_peft.model.adapters.fused_lora import FusedLoraLinear, fuse_lora


def layers(bias=True, dtype=torch.float32, **config):
    """Return PEFT's model of one LoRA layer that has learned something, and its fused twin."""
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(24, 40, bias=bias)).to(dtype)
    plain = get_peft_model(base, LoraConfig(r=4, lora_alpha=12, target_modules=["0"], **config))
    with torch.no_grad():
        for name, weight in plain.named_parameters():
            if "lora" in name:
                weight.copy_(torch.randn_like(weight) * 0.1)
    fused = copy.deepcopy(plain)
    fuse_lora(fused)
    return plain, fused


def run(model, x, autocast=False):
    x = x.clone().requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = model(x)
    out.float().square().sum().backward()
    learned = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    return {"out": out.detach(), "x": x.grad, **learned}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(7, 24), (2, 5, 24), (39, 24), (40, 24), (3, 20, 24)])
def test_outputs_and_gradients_are_pefts(shape, bias):
    plain, fused = layers(bias)
    x = torch.randn(shape)
    expected, found = run(plain, x), run(fused, x)
    assert isinstance(fused.base_model.model[0], FusedLoraLinear)
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


def test_outputs_and_gradients_under_bf16_are_as_near_to_fp32_as_pefts():
    x = torch.randn(64, 24)
    exact = run(layers()[0], x)
    plain, fused = layers(dtype=torch.bfloat16)
    expected, found = run(plain, x, autocast=True), run(fused, x, autocast=True)
    for name, truth in exact.items():
        assert found[name].dtype == expected[name].dtype, name
        error = (found[name].float() - truth).norm() / truth.norm()
        assert error < 1.2 * (expected[name].float() - truth).norm() / truth.norm() + 1e-3, name


def test_an_input_that_needs_no_gradient_gets_none():
    _, fused = layers()
    x = torch.randn(3, 24)
    fused(x).sum().backward()
    assert x.grad is None


@pytest.mark.parametrize("config", [{"use_dora": True}, {"lora_dropout": 0.5}, {"lora_bias": True}])
def test_what_is_not_plain_lora_is_left_to_peft(config, monkeypatch):
    called = []
    forward = LoraLinear.forward
    monkeypatch.setattr(LoraLinear, "forward", lambda self, x: called.append(1) or forward(self, x))
    _, fused = layers(**config)
    fused.train()
    fused(torch.randn(3, 24))
    assert called


def test_switching_off_and_merging_are_pefts():
    plain, fused = layers()
    x = torch.randn(3, 24)
    with fused.disable_adapter():
        torch.testing.assert_close(fused(x), plain.base_model.model[0].base_layer(x))
    expected = plain(x)
    fused.merge_adapter()
    torch.testing.assert_close(fused(x), expected, rtol=1e-4, atol=1e-5)
    fused.unmerge_adapter()
    torch.testing.assert_close(fused.merge_and_unload()(x), expected, rtol=1e-4, atol=1e-5)
