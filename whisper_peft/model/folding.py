"""An adapter that rests in the weights while the model only listens.

Each LoRA layer runs two more small matrix products, and in generation, where every step is small, they cost
as much as the layer itself. Folded for the time of an evaluation they cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import nn

from whisper_peft.model.loading import Whisper


@contextmanager
def folded(whisper: Whisper) -> Iterator[None]:
    """Let the base weights carry the LoRA update W + BA meanwhile, and put back the very same weights.

    The update is added in fp32 and rounded to the weights' dtype, as the merged model has it. Layers that
    cannot be folded so (int8 and nf4 weights, DoRA and other methods than LoRA) run as they are.
    """
    layers = [layer for layer in whisper.model.modules() if isinstance(layer, LoraLinear)]
    own = [(layer, _base_weight(layer).data) for layer in layers if _is_foldable(layer)]
    try:
        for layer, weight in own:
            with torch.no_grad():
                update = layer.get_delta_weight(layer.active_adapters[0]).float()
                _base_weight(layer).data = (weight + update).to(weight.dtype)
            layer.merged_adapters.append(layer.active_adapters[0])
        yield
    finally:
        for layer, weight in own:
            _base_weight(layer).data = weight
            layer.merged_adapters.clear()


def _base_weight(layer: LoraLinear) -> nn.Parameter:
    return cast(nn.Parameter, layer.get_base_layer().weight)


def _is_foldable(layer: LoraLinear) -> bool:
    return (
        type(layer.get_base_layer()) is nn.Linear
        and list(layer.lora_A) == layer.active_adapters
        and len(layer.active_adapters) == 1
        and not layer.lora_variant
        and not any(layer.lora_bias.values())
        and not layer.disable_adapters
        and not layer.merged
    )
