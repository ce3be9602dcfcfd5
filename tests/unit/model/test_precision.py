from __future__ import annotations

import pytest
import torch

from whisper_peft.errors import ModelError
from whisper_peft.model import precision as module
from whisper_peft.model.precision import choose_device, choose_precision
from whisper_peft.recipe.sections import ModelSection

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")


@pytest.fixture
def gpu(monkeypatch):
    def with_bf16(present: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: present)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")

    return with_bf16


@pytest.mark.parametrize(("bf16", "name", "scaler"), [(True, "bf16", False), (False, "fp16", True)])
def test_a_gpu_gets_bf16_where_it_has_it_and_else_fp16_with_loss_scaling(gpu, bf16, name, scaler):
    gpu(bf16)
    chosen = choose_precision(ModelSection(), CUDA)
    assert (chosen.name, chosen.needs_scaler) == (name, scaler)
    assert chosen.weights_dtype == chosen.compute_dtype == module.DTYPES[name]
    assert chosen.reason.startswith(f"{name}: chosen for a GPU")


def test_bf16_on_an_old_gpu_is_refused_with_the_way_out(gpu):
    gpu(False)
    with pytest.raises(ModelError, match=r"Tesla T4.*--model.precision fp16"):
        choose_precision(ModelSection(precision="bf16"), CUDA)


@pytest.mark.parametrize("device", [CPU, MPS])
def test_auto_is_fp32_away_from_gpus(device):
    assert choose_precision(ModelSection(), device).name == "fp32"


@pytest.mark.parametrize("has_units", [False, True])
def test_a_cpu_with_bf16_units_is_told_what_they_are_good_for(monkeypatch, has_units):
    monkeypatch.setattr(module, "_cpu_multiplies_bf16", lambda: has_units)
    chosen = choose_precision(ModelSection(), torch.device("cpu"))
    assert chosen.name == "fp32"
    assert ("--model.precision bf16 trains about twice as fast" in chosen.reason) == has_units


def test_bf16_runs_on_mps():
    assert choose_precision(ModelSection(precision="bf16"), MPS).compute_dtype == torch.bfloat16


@pytest.mark.parametrize("fields", [{"quantize": "int8"}, {"quantize": "nf4"}, {"precision": "fp16"}])
def test_mps_refuses_quantisation_and_fp16_with_a_reason(fields):
    with pytest.raises(ModelError, match=r"on MPS - .* - use --model"):
        choose_precision(ModelSection(**fields), MPS)


def test_fp16_on_a_cpu_without_fp16_units_rounds_weights_and_computes_in_fp32(monkeypatch):
    monkeypatch.setattr(module, "_cpu_multiplies_fp16", lambda: False)
    chosen = choose_precision(ModelSection(precision="fp16"), CPU)
    assert chosen.values_dtype == torch.float16
    assert chosen.weights_dtype == chosen.compute_dtype == torch.float32
    assert not chosen.needs_scaler
    assert "bf16 is the fast choice" in chosen.reason


def test_fp16_on_a_cpu_with_fp16_units_is_fp16_with_loss_scaling(monkeypatch):
    monkeypatch.setattr(module, "_cpu_multiplies_fp16", lambda: True)
    chosen = choose_precision(ModelSection(precision="fp16"), CPU)
    assert chosen.weights_dtype == chosen.compute_dtype == torch.float16
    assert chosen.needs_scaler


def test_autocast_is_off_in_fp32():
    with choose_precision(ModelSection(precision="fp32"), CPU).autocast(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_a_device_that_is_not_there_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"model.device is cuda.*--model.device auto"):
        choose_device("cuda")
