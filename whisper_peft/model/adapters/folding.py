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

    Layers that cannot be folded without changing what is said run as they are: those with weights in bf16 or
    fp16, which would round the update away, in int8 or nf4, with DoRA or other methods than LoRA, and the
    output projection, whose weight is the token embedding's too.
    """
    layers = [layer for layer in whisper.model.modules() if isinstance(layer, LoraLinear)]
    shared = whisper.core.get_input_embeddings().weight
    own = [
        (layer, _base_weight(layer).data)
        for layer in layers
        if _is_foldable(layer) and _base_weight(layer) is not shared
    ]
    try:
        for layer, weight in own:
            with torch.no_grad():
                update = layer.get_delta_weight(layer.active_adapters[0])
                _base_weight(layer).data = weight + update
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
        and _base_weight(layer).dtype == torch.float32
        and len(layer.active_adapters) == 1
        and layer.active_adapters[0] in layer.lora_A
        and not layer.lora_variant
        and not any(layer.lora_bias.values())
        and not layer.disable_adapters
        and not layer.merged
    )
