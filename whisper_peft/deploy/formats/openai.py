"""OpenAI's `.pt` file, which `whisper.load_model` takes by its path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import WhisperConfig

from whisper_peft.deploy.companion_faults import DIMENSIONS, SORTED_HEADS, tokenizer_fields
from whisper_peft.deploy.export_values import ExportFormat
from whisper_peft.deploy.weights import keep_cast, source_weights
from whisper_peft.errors import ExportError, ModelError
from whisper_peft.model.checkpoints.openai_format import (
    dump_alignment_heads,
    openai_alignment_heads,
    openai_name,
    read_openai,
)
from whisper_peft.model.checkpoints.vocabulary import WhisperVocabulary
from whisper_peft.model.loading import Whisper

MODEL_FILE = "model.pt"

TOKENIZER_FILE = "tokenizer.json"
"""openai-whisper has its own vocabularies and passes it by; reading the model back here takes it."""

NOTE = """\
# A fine-tuned Whisper in OpenAI's format

```python
import torch, whisper

model = whisper.load_model("model.pt")
```

The model listens and writes as it was tuned. For word timestamps one line more is better: openai-whisper
knows alignment heads by the names of OpenAI's own models only, and takes every head of the later half of the
decoder for a file. This model's are in the file:

```python
model.set_alignment_heads(torch.load("model.pt", weights_only=True)["alignment_heads"])
```

Suppressed tokens have no place in this format: openai-whisper suppresses its own list of non-speech tokens.
"""


def write_openai(whisper: Whisper, folder: Path, quantization: str) -> None:
    """Write `model.pt`, the tokenizer to read it back with, and a note on word timestamps.

    Raises:
        ExportError: If OpenAI's code has no place for the model's shape.
        ModelError: If its vocabulary is none of OpenAI's.
    """
    config = whisper.config
    _refuse_unfit(config)
    state = {
        openai_name(name): keep_cast(name, weight, quantization)
        for name, weight in source_weights(whisper).items()
    }
    heads = [tuple(pair) for pair in whisper.generation_config.to_dict()["alignment_heads"]]
    dump = dump_alignment_heads(heads, config.decoder_layers, config.decoder_attention_heads)
    torch.save(
        {"dims": _dimensions(config), "model_state_dict": state, "alignment_heads": dump}, folder / MODEL_FILE
    )
    (folder / TOKENIZER_FILE).write_text(whisper.tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    (folder / "README.md").write_text(NOTE, encoding="utf-8")


def _refuse_unfit(config: WhisperConfig) -> None:
    WhisperVocabulary(config.vocab_size)
    unfit = {
        "its output matrix is not its token embedding": not config.tie_word_embeddings,
        "it feeds forward through other than four times its width": {
            config.encoder_ffn_dim,
            config.decoder_ffn_dim,
        }
        != {4 * config.d_model},
    }
    for why, is_so in unfit.items():
        if is_so:
            raise ExportError("the model does not fit openai-whisper", why, "give --format huggingface")


def _dimensions(config: WhisperConfig) -> dict[str, Any]:
    """Return OpenAI's `ModelDimensions`."""
    return {name: getattr(config, field) for name, field in DIMENSIONS.items()}


def read_openai_folder(folder: Path) -> Mapping[str, Tensor]:
    """Read the weights as they are stored; nothing in the file is executed.

    Raises:
        ModelError: If the file is missing, damaged, or not a complete Whisper.
    """
    if not (folder / MODEL_FILE).is_file():
        raise ModelError(f"{folder} has no {MODEL_FILE}", "the weights are missing", "export it again")
    return read_openai(folder / MODEL_FILE).state


def read_fields(folder: Path) -> Mapping[str, Any]:
    """Return the sizes and the alignment heads that `model.pt` tells; nothing in the file is executed."""
    checkpoint = torch.load(folder / MODEL_FILE, map_location="meta", weights_only=True)
    return {name: value for name, value in checkpoint.items() if name != "model_state_dict"}


def read_companions(folder: Path) -> Mapping[str, Any]:
    """Return the sizes and alignment heads of `model.pt`, and the tokenizer beside it."""
    sizes = read_fields(folder)["dims"]
    return {
        **{f"{MODEL_FILE}: {name}": sizes.get(name) for name in DIMENSIONS},
        f"{MODEL_FILE}: {SORTED_HEADS}": openai_alignment_heads(folder / MODEL_FILE),
        **tokenizer_fields(folder / TOKENIZER_FILE),
    }


FORMAT = ExportFormat(
    name="openai",
    quantizations=("float16", "float32"),
    exact=("float16", "float32"),
    write=write_openai,
    read=read_openai_folder,
    keep=keep_cast,
    runtime="openai_whisper",
    read_fields=read_fields,
    read_companions=read_companions,
)
