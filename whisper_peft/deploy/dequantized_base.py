"""The base as a quantised run saw it: int8 or nf4 weights written out in float.

A QLoRA adapter has learned beside rounded weights, and corrects for the rounding too. Folded into the rounded
weights in float it is the model that was trained; folded into the original ones it is a slightly other model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt
from peft import PeftModel
from safetensors.torch import save_file
from torch import Tensor, nn

from whisper_peft.model.adapters.rounded_weights import dequantized
from whisper_peft.model.checkpoints.companions import save_companions
from whisper_peft.model.loading import Whisper

TIED = "proj_out.weight"
"""The output projection, which is the token embedding and is stored once."""


@contextmanager
def as_trained(whisper: Whisper) -> Iterator[None]:
    """Let int8 layers multiply meanwhile as they do in training.

    On the CPU that is in float by the dequantised weights. Outside training, and on GPUs, bitsandbytes rounds
    what comes into a layer to 8 bits too.
    """
    layers = [layer for layer in whisper.model.modules() if isinstance(layer, Linear8bitLt)]
    # at each call, since what listens puts the whole model in evaluation mode first
    hooks = [layer.register_forward_pre_hook(_put_in_training) for layer in layers]
    try:
        yield
    finally:
        for layer, hook in zip(layers, hooks, strict=True):
            hook.remove()
            layer.eval()


def _put_in_training(layer: nn.Module, _: object) -> None:
    layer.train()


def is_exact_as_trained(whisper: Whisper) -> bool:
    """Tell whether the model, as trained, computed in float by its dequantised weights."""
    rounds_inputs = whisper.quantize == "int8" and whisper.device.type != "cpu"
    return whisper.precision.compute_dtype == torch.float32 and not rounds_inputs


def write_dequantized_base(whisper: Whisper, folder: Path) -> None:
    """Write the base of a quantised model in fp32, as a Hugging Face folder.

    Args:
        whisper: The model; an adapter on it is taken off and lost.
        folder: Where to write.
    """
    core = whisper.core
    if isinstance(whisper.model, PeftModel):
        whisper.model.unload()
    config = type(core.config).from_dict(core.config.to_dict())
    del config.quantization_config
    config.dtype = torch.float32
    folder.mkdir(parents=True)
    save_file(dequantized_state(core), folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    save_companions(whisper.companions, folder)


def dequantized_state(core: nn.Module) -> dict[str, Tensor]:
    """Return every weight of a model in fp32 on the CPU, what is quantised as it is multiplied with."""
    quantized = {
        f"{name}.weight": dequantized(layer)
        for name, layer in core.named_modules()
        if isinstance(layer, Linear8bitLt | Linear4bit)
    }
    plain = {
        name: weight.detach().float().cpu().contiguous()
        for name, weight in core.named_parameters()
        if name not in quantized and name != TIED
    }
    return {**plain, **quantized}
