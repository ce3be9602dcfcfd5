"""Hugging Face's folder, for transformers and everything that reads its files."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from whisper_peft.deploy.companion_faults import (
    DIMENSIONS,
    FEATURES,
    GENERATION,
    MERGES,
    TOKENS,
    json_fields,
    tokenizer_fields,
)
from whisper_peft.deploy.export_values import ExportFormat
from whisper_peft.deploy.weights import FLOATS, keep_cast, save_tensors, source_weights
from whisper_peft.errors import ModelError
from whisper_peft.model.checkpoints.companions import save_companions
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


def read_companions(folder: Path) -> Mapping[str, Any]:
    """Return what configuration, generation, features and both kinds of tokenizer files tell."""
    return {
        **json_fields(folder / "config.json", DIMENSIONS, renamed=DIMENSIONS),
        **json_fields(folder / "generation_config.json", GENERATION),
        **json_fields(folder / "preprocessor_config.json", FEATURES),
        **tokenizer_fields(folder / "tokenizer.json"),
        **_legacy_fields(folder),
    }


def _legacy_fields(folder: Path) -> dict[str, Any]:
    """Return the tokens and merges of the files that other converters read."""
    texts, added = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for name in ("vocab.json", "added_tokens.json")
    )
    _, *pairs = (folder / "merges.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return {
        f"vocab.json: {TOKENS}": {**texts, **added},
        f"merges.txt: {MERGES}": [p.split(" ") for p in pairs],
    }


FORMAT = ExportFormat(
    name="huggingface",
    quantizations=tuple(FLOATS),
    exact=tuple(FLOATS),
    write=write_huggingface,
    read=read_huggingface,
    keep=keep_cast,
    runtime="transformers",
    read_companions=read_companions,
)
