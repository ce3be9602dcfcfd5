"""Where a LoRA over rounded weights starts, found by singular values of float weights and of what they lost.

LoftQ (Li et al., 2023) with one step: BA is the best approximation, at the adapter's rank, of W minus its
rounded self, so that training begins near the float model. PiSSA (Meng et al., 2024): BA holds W's largest
directions, and what is left of W is rounded. PEFT's own need CUDA (LoftQ) or refuse rounded weights (PiSSA).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from whisper_peft.errors import AdapterError
from whisper_peft.model.adapters.rounded_weights import RoundedLinear, dequantized, round_anew
from whisper_peft.model.checkpoints.weights import read_weights

if TYPE_CHECKING:
    from whisper_peft.model.loading import Whisper

LOFTQ_BITS = {"int8": 8, "nf4": 4}

ADAPTER = "default"
"""PEFT's name of the adapter that learns."""


def wrapped(whisper: Whisper, config: PeftConfig) -> PeftModel:
    """Return the model as PEFT wraps it; PiSSA starts over rounded weights too.

    Raises:
        AdapterError: If PiSSA over rounded weights is combined with DoRA.
    """
    starts_here = (
        whisper.quantize != "none" and isinstance(config, LoraConfig) and config.init_lora_weights == "pissa"
    )
    if not starts_here:
        return _wrap(whisper, config)
    lora = cast(LoraConfig, config)
    _refuse_dora(lora, "pissa")
    lora.init_lora_weights = True
    model = _wrap(whisper, lora)
    lora.init_lora_weights = "pissa"  # whoever loads the adapter has to take the same out of the base
    for layer, rounded, weight in _rounded_layers(whisper, model):
        up, down = factors(weight, layer.r[ADAPTER])
        _fill(layer, up, down)
        round_anew(rounded, weight - up @ down)
    return model


def start_at_rounding(whisper: Whisper, model: PeftModel) -> None:
    """Let a fresh LoRA hold what rounding took away, as far as its rank goes (LoftQ).

    Its configuration says so from then on, in the field that PEFT has for it. The start stays `True`: PEFT
    would look for another one whenever the adapter is loaded.

    Raises:
        AdapterError: If it is combined with DoRA.
    """
    config = cast(LoraConfig, model.peft_config[ADAPTER])
    _refuse_dora(config, "loftq")
    config.loftq_config = {"loftq_bits": LOFTQ_BITS[whisper.quantize], "loftq_iter": 1}
    for layer, rounded, weight in _rounded_layers(whisper, model):
        _fill(layer, *factors(weight - dequantized(rounded), layer.r[ADAPTER]))


def factors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return B and A whose product is nearest to the matrix at a rank, each with half of the singular values.

    Example:
        >>> up, down = factors(torch.ones(3, 2), 1)
        >>> torch.allclose(up @ down, torch.ones(3, 2))
        True
    """
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    roots = values[:rank].sqrt()
    return left[:, :rank] * roots, roots[:, None] * right[:rank]


def _wrap(whisper: Whisper, config: PeftConfig) -> PeftModel:
    return cast(PeftModel, get_peft_model(whisper.core, config, autocast_adapter_dtype=True))


def _refuse_dora(config: LoraConfig, start: str) -> None:
    if config.use_dora:
        raise AdapterError(
            f"adapter.use_dora with adapter.init_lora_weights {start} on rounded weights",
            "the lengths that DoRA learns would be those of other weights",
            "leave one of the two out",
        )


def _rounded_layers(whisper: Whisper, model: PeftModel) -> Iterator[tuple[LoraLayer, RoundedLinear, Tensor]]:
    """Yield the adapted layers, their rounded base, and its weight in float, read again."""
    exact = replace(whisper.precision, weights_dtype=torch.float32, values_dtype=torch.float32)
    floats = read_weights(whisper.checkpoint, exact, quantize="none", device=torch.device("cpu"))
    for name, layer in model.get_base_model().named_modules():
        if isinstance(layer, LoraLayer):
            base = layer.get_base_layer()
            if isinstance(base, Linear8bitLt | Linear4bit):
                yield layer, base, cast(Tensor, floats.get_submodule(name).weight)


def _fill(layer: LoraLayer, up: Tensor, down: Tensor) -> None:
    """Put B and A into a layer; its scale is divided out, half of it from each."""
    half = layer.scaling[ADAPTER] ** 0.5
    with torch.no_grad():
        cast(nn.Linear, layer.lora_B[ADAPTER]).weight.copy_(up / half)
        cast(nn.Linear, layer.lora_A[ADAPTER]).weight.copy_(down / half)
