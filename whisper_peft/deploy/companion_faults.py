"""What an export tells beside its weights, held against the model itself and not against its own writer.

A format reads its folder into fields named `file: field`; the field's part is the same in every format, so
that one table of the model's own values answers for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import WhisperFeatureExtractor

from whisper_peft.deploy.file_faults import Fault, mapping_faults
from whisper_peft.model.loading import Whisper

DIMENSIONS = {
    "n_mels": "num_mel_bins",
    "n_vocab": "vocab_size",
    "n_audio_ctx": "max_source_positions",
    "n_audio_state": "d_model",
    "n_audio_head": "encoder_attention_heads",
    "n_audio_layer": "encoder_layers",
    "n_text_ctx": "max_target_positions",
    "n_text_state": "d_model",
    "n_text_head": "decoder_attention_heads",
    "n_text_layer": "decoder_layers",
}
"""OpenAI's names of the sizes of a model, in its order, and those of Hugging Face's configuration."""

GENERATION = (
    *("alignment_heads", "begin_suppress_tokens", "bos_token_id", "decoder_start_token_id", "eos_token_id"),
    *("is_multilingual", "lang_to_id", "max_length", "no_timestamps_token_id", "pad_token_id"),
    *("prev_sot_token_id", "suppress_tokens", "task_to_id"),
)
"""Fields of a generation config that change what is written, or when."""

FEATURES = ("chunk_length", "feature_size", "hop_length", "n_fft", "sampling_rate")
"""Fields of a feature extractor that change what is heard."""

LANGUAGE_IDS, SORTED_HEADS = "lang_ids", "sorted alignment_heads"
TOKENS, TEXT_TOKENS, MERGES, MEL_FILTERS = "tokens", "text tokens", "merges", "mel filters"


def companion_faults(whisper: Whisper, told: Mapping[str, Any]) -> list[Fault]:
    """Return the fields of an export that are not the model's own.

    Args:
        whisper: The model that was exported.
        told: What its folder holds, by `file: field`.
    """
    own = model_fields(whisper)
    expected = {name: own[name.rpartition(": ")[2]] for name in told}
    return list(mapping_faults("", expected, told))


def model_fields(whisper: Whisper) -> dict[str, Any]:
    """Return every field that some format tells of a model."""
    generation = json.loads(json.dumps(whisper.generation_config.to_dict()))  # lists for pairs, as in files
    tokenizer = whisper.tokenizer
    tokens, backend = tokenizer.get_vocab(), json.loads(tokenizer.backend_tokenizer.to_str())
    end = int(tokenizer.eos_token_id)
    features = WhisperFeatureExtractor(feature_size=whisper.config.num_mel_bins)
    return {
        **{name: generation.get(name) for name in GENERATION},
        **{name: getattr(features, name) for name in FEATURES},
        **{name: getattr(whisper.config, field) for name, field in DIMENSIONS.items()},
        SORTED_HEADS: sorted(generation["alignment_heads"]),
        LANGUAGE_IDS: sorted(generation["lang_to_id"].values()) if whisper.is_multilingual else [],
        TOKENS: tokens,
        TEXT_TOKENS: {token: index for token, index in tokens.items() if token and index < end},
        MERGES: backend["model"]["merges"],
        MEL_FILTERS: features.mel_filters.T.astype("float32").ravel().tolist(),
    }


def json_fields(
    path: Path, names: Iterable[str], *, renamed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return fields of a JSON file as `file: field`; None for those that it lacks.

    Args:
        path: The file.
        names: What the fields are called here.
        renamed: What the file calls them, where that is something else.

    Raises:
        OSError, ValueError: If it cannot be read.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    return {f"{path.name}: {name}": content.get((renamed or {}).get(name, name)) for name in names}


def tokenizer_fields(path: Path) -> dict[str, Any]:
    """Return the tokens and merges of a `tokenizer.json`.

    Raises:
        OSError, ValueError, KeyError: If it cannot be read.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    added = {token["content"]: token["id"] for token in content["added_tokens"]}
    merges = content["model"]["merges"]
    return {
        f"{path.name}: {TOKENS}": {**content["model"]["vocab"], **added},
        f"{path.name}: {MERGES}": [pair.split(" ") if isinstance(pair, str) else pair for pair in merges],
    }
