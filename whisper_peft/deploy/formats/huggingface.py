"""Hugging Face's folder, for transformers and everything that reads its files."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from whisper_peft.deploy.export_values import ExportFormat
from whisper_peft.deploy.weights import FLOATS, keep_cast, save_tensors, source_weights
from whisper_peft.errors import ModelError
from whisper_peft.model.companions import save_companions
from whisper_peft.model.loading import Whisper

WEIGHTS_FILE = "model.safetensors"


def write_huggingface(whisper: Whisper, folder: Path, quantization: str) -> None:
    """Write weights and configuration, with every file of tokenizer, features and generation.

    Raises:
        ExportError: If a weight is beyond the range of the dtype.
    """
    state = {name: keep_cast(name, w, quantization) for name, w in source_weights(whisper).items()}
    save_tensors(state, folder / WEIGHTS_FILE)
    config = copy.deepcopy(whisper.config)
    config.dtype = FLOATS[quantization]
    config.architectures = ["WhisperForConditionalGeneration"]
    config.save_pretrained(folder)
    save_companions(whisper.companions, folder)


def read_huggingface(folder: Path) -> Mapping[str, Tensor]:
    """Read the weights as they are stored.

    Raises:
        ModelError: If the file is missing or damaged.
    """
    path = folder / WEIGHTS_FILE
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read", str(error).splitlines()[0], "export it again") from None


FORMAT = ExportFormat(
    name="huggingface",
    quantizations=tuple(FLOATS),
    exact=tuple(FLOATS),
    write=write_huggingface,
    read=read_huggingface,
    keep=keep_cast,
    runtime="transformers",
)
