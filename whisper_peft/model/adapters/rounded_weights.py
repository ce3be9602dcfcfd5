"""Weights in int8 and nf4: read in float, and rounded anew."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import torch
from bitsandbytes.nn.modules import Int8Params, Linear4bit, Linear8bitLt, Params4bit
from peft.utils.integrations import dequantize_bnb_weight
from torch import Tensor, nn

RoundedLinear: TypeAlias = Linear8bitLt | Linear4bit


def dequantized(layer: RoundedLinear) -> Tensor:
    """Return a rounded layer's weight as it is multiplied with, in fp32 on the CPU."""
    state = layer.state if isinstance(layer, Linear8bitLt) else None
    weight: Tensor = dequantize_bnb_weight(cast(nn.Parameter, layer.weight), state=state)
    return weight.detach().float().cpu().contiguous()


def round_anew(layer: RoundedLinear, weight: Tensor) -> None:
    """Give a rounded layer another weight, rounded as the one before.

    Args:
        layer: In int8 or nf4.
        weight: In float, of the layer's shape.
    """
    device = layer.weight.device
    if isinstance(layer, Linear8bitLt):
        eight_bits: Any = Int8Params(weight.cpu(), requires_grad=False)
        layer.weight = eight_bits.to(device)
        layer.state.CB = layer.state.SCB = None  # taken from the weight at the next call
        return
    old = cast(Params4bit, layer.weight)
    float_type = cast(torch.dtype, old.quant_state.dtype)
    four_bits: Any = Params4bit(
        weight.to(float_type).cpu(),
        requires_grad=False,
        blocksize=old.blocksize,
        compress_statistics=old.compress_statistics,
        quant_type=old.quant_type,
        quant_storage=old.quant_storage,
        module=layer,
    )
    layer.weight = four_bits.to(device)
