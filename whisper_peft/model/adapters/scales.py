"""The dial on an adapter: how much of its update is added to the base."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn

from whisper_peft.errors import AdapterError

if TYPE_CHECKING:
    from whisper_peft.model.loading import Whisper
    from whisper_peft.recipe.sections import AdapterSection

REPAIRING_STARTS = ("pissa", "loftq")
"""Starts of `adapter.init_lora_weights` that move a part of the base weights into the adapter."""


@contextmanager
def scaled(whisper: Whisper, scale: float) -> Iterator[None]:
    """Multiply the adapter's update by `scale` meanwhile: 0 is the base, 1 the adapter as it was trained.

    Args:
        whisper: A model with a LoRA adapter; at a scale of 1 with any adapter, or none.
        scale: Factor of the update.

    Raises:
        AdapterError: If the adapter has no update that could be scaled.
    """
    if scale == 1:
        yield
        return
    refuse_unscalable(whisper)
    layers = [layer for layer in whisper.model.modules() if isinstance(layer, LoraLayer)]
    before = [dict(layer.scaling) for layer in layers]
    for layer in layers:
        layer.scaling.update({name: value * scale for name, value in layer.scaling.items()})
    try:
        yield
    finally:
        for layer, scaling in zip(layers, before, strict=True):
            layer.scaling.update(scaling)


def scale_update(whisper: Whisper, section: AdapterSection) -> str | None:
    """Multiply the adapter's own weights, so that its update is `adapter.scale` of what it was from now on.

    Args:
        whisper: A model whose training is over.
        section: What was trained.

    Returns:
        What was done, or why nothing was; None where there was nothing to do.
    """
    scale, start = section.scale, section.init_lora_weights
    if scale == 1:
        return None
    try:
        refuse_unscalable(whisper)
    except AdapterError as error:
        return f"adapter.scale {scale:g} is left out: {error.what}, {error.why}"
    if start in REPAIRING_STARTS:
        return f"adapter.scale {scale:g} is left out: with {start} the update also holds a part of the base"
    for layer in whisper.model.modules():
        if isinstance(layer, LoraLayer):
            for factor in layer.lora_B.values():
                cast(nn.Linear, factor).weight.data.mul_(scale)
    return f"the learned update is multiplied by {scale:g} (adapter.scale)"


def refuse_unscalable(whisper: Whisper) -> None:
    """Refuse a model whose adapter is not an update W + scale * BA and nothing else.

    Raises:
        AdapterError: If there is no adapter, or it also changes magnitudes, biases or whole layers.
    """
    if not isinstance(whisper.model, PeftModel):
        raise AdapterError("the model has no adapter", "there is no update to scale", "give a run with one")
    for config in whisper.model.peft_config.values():
        refuse_more_than_update(config, "scaled")


def refuse_more_than_update(config: object, verb: str) -> None:
    """Refuse an adapter that is more, or other, than a LoRA update of weights.

    Args:
        config: Its configuration.
        verb: What was to be done to it, for the message.

    Raises:
        AdapterError: With the field that is in the way.
    """
    if not isinstance(config, LoraConfig):
        raise AdapterError(
            f"a {type(config).__name__} adapter cannot be {verb}",
            "its update is not W + BA",
            "use a LoRA adapter",
        )
    start = config.init_lora_weights
    replaces_base = isinstance(start, str) and start.startswith(("pissa", "olora", "corda"))
    reasons = {
        "use_dora": (config.use_dora, "it also learns the length of each weight's rows"),
        "bias": (config.bias != "none", "it also learns biases"),
        "lora_bias": (config.lora_bias, "it also learns biases"),
        "modules_to_save": (bool(config.modules_to_save), "it also holds whole layers"),
        "init_lora_weights": (replaces_base, "it replaces the base weights that it is attached to"),
    }
    for field, (is_so, why) in reasons.items():
        if is_so:
            raise AdapterError(
                f"a LoRA adapter with {field}={getattr(config, field)} cannot be {verb}",
                why,
                "use a plain LoRA adapter, or merge it as it is",
            )
