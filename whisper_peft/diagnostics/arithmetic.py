"""Arithmetic that training may use: floats of three widths, and weights in 8 and 4 bits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from whisper_peft.diagnostics.checks import Attempt
from whisper_peft.measuring import fastest_run

_WIDTH = 512
"""Features of the layer that is tried: as wide as whisper-base."""

_RATE_S = 0.2
"""Seconds to spend on how fast a multiplication is."""


def best_device() -> torch.device:
    """Return where a run goes when nothing is said."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _train_in(dtype: torch.dtype) -> str:
    """Take one step of a layer in mixed precision, as training does, and tell how fast it multiplies."""
    device = best_device()
    layer = torch.nn.Linear(_WIDTH, _WIDTH, device=device)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        loss = layer(torch.ones(8, _WIDTH, device=device)).float().square().mean()
    before = layer.weight.detach().clone()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    if not all(bool(torch.isfinite(weight).all()) for weight in layer.parameters()):
        raise ArithmeticError("a step gave weights that are not finite")
    if torch.equal(layer.weight, before):
        raise ArithmeticError("a step changed nothing: its gradients were not finite")
    return f"one step on {device.type}, {_multiplication_rate(dtype, device) / 1e9:,.0f} GFLOP/s"


def _multiplication_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Return the floating-point operations in a second of a product of two square matrices."""
    matrix = torch.ones(_WIDTH, _WIDTH, device=device, dtype=dtype)

    def multiply() -> None:
        product = matrix @ matrix
        product[0, 0].item()  # an accelerator has finished when a number is here

    return 2 * _WIDTH**3 / fastest_run(multiply, _RATE_S)


def _multiply_quantised(name: str) -> str:
    """Run one quantised layer forwards, and backwards to its input."""
    from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt

    device = best_device()
    layer: torch.nn.Module
    if name == "int8":
        layer = Linear8bitLt(_WIDTH, _WIDTH, has_fp16_weights=False)
    else:
        layer = Linear4bit(_WIDTH, _WIDTH, quant_type="nf4", compute_dtype=torch.float32)
    inputs = torch.ones(8, _WIDTH, device=device, requires_grad=True)
    layer.to(device)(inputs).sum().backward()
    if inputs.grad is None or not bool(torch.isfinite(inputs.grad).all()):
        raise ArithmeticError("no finite gradient reached the input")
    return f"forwards and backwards on {device.type}"


_PRECISION_TODO = "leave model.precision at auto"
_QUANTISED_TODO = "pip install --upgrade bitsandbytes"
_ROUNDED = ("bitsandbytes", "set model.quantize to none")
_HALVED = ("torch", "set model.precision to fp32")

ATTEMPTS: Mapping[str, Attempt] = {
    "fp32": Attempt(partial(_train_in, torch.float32), "reinstall torch", "torch"),
    "bf16": Attempt(partial(_train_in, torch.bfloat16), _PRECISION_TODO, *_HALVED),
    "fp16": Attempt(partial(_train_in, torch.float16), _PRECISION_TODO, *_HALVED),
    "int8": Attempt(partial(_multiply_quantised, "int8"), _QUANTISED_TODO, *_ROUNDED),
    "nf4": Attempt(partial(_multiply_quantised, "nf4"), _QUANTISED_TODO, *_ROUNDED),
}
"""By what `model.precision` and `model.quantize` call them."""
