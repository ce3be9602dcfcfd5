"""From the recipe's word for what is adapted to Whisper's modules."""

from __future__ import annotations

from torch import nn
from transformers import WhisperForConditionalGeneration

from whisper_peft.errors import AdapterError, did_you_mean

ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
"""Projections of every attention: the encoder's, the decoder's, and the decoder's over the encoder."""

ALL_LINEAR = (*ATTENTION, "fc1", "fc2")
"""Every linear layer of a block. Not `proj_out`: it is the token embedding, and folding would change both."""

PRESETS: dict[str, tuple[str, ...] | str] = {
    "attention": ATTENTION,
    "all-linear": ALL_LINEAR,
    "encoder-only": rf"model\.encoder\.layers\..*\.({'|'.join(ALL_LINEAR)})",
    "decoder-only": rf"model\.decoder\.layers\..*\.({'|'.join(ALL_LINEAR)})",
}
"""Names of modules, or a regular expression over their full names, as `peft` takes them."""


def target_modules(targets: str | tuple[str, ...], model: WhisperForConditionalGeneration) -> list[str] | str:
    """Return `target_modules` for a `peft` config.

    Args:
        targets: A preset, names of modules, or one string of names with commas.
        model: Whose modules the names are checked against.

    Raises:
        AdapterError: If no linear layer has such a name.
    """
    if isinstance(targets, str):
        if targets in PRESETS:
            preset = PRESETS[targets]
            return preset if isinstance(preset, str) else list(preset)
        targets = tuple(name.strip() for name in targets.split(","))
    layers = linear_layers(model)
    for name in targets:
        if not any(layer == name or layer.endswith(f".{name}") for layer in layers):
            known = {*PRESETS, *(layer.rpartition(".")[2] for layer in layers)}
            raise AdapterError(
                f"adapter.targets has {name!r}",
                "no linear layer of the model has that name",
                did_you_mean(name, known),
            )
    return list(targets)


def linear_layers(model: WhisperForConditionalGeneration) -> list[str]:
    """Return the full names of the linear layers of all blocks, quantised or not."""
    return [f"model.{name}" for name, module in model.model.named_modules() if isinstance(module, nn.Linear)]
