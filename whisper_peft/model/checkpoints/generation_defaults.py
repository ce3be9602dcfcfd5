"""Whisper's generation config: kept as a checkpoint brings it, completed from the published values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, WhisperConfig, WhisperTokenizer
from transformers.models.whisper.configuration_whisper import NON_SPEECH_TOKENS, NON_SPEECH_TOKENS_MULTI
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from whisper_peft.errors import ModelError
from whisper_peft.model.checkpoints.finding import Checkpoint, size_of
from whisper_peft.model.checkpoints.openai_format import openai_alignment_heads
from whisper_peft.model.checkpoints.vocabulary import ENGLISH_ONLY_SIZE, WhisperVocabulary

ALIGNMENT_HEADS: dict[str, tuple[tuple[int, int], ...]] = {
    "tiny.en": ((1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)),
    "tiny": ((2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5)),
    "base.en": ((3, 3), (4, 7), (5, 1), (5, 5), (5, 7)),
    "base": ((3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6)),
    "small.en": (
        *((6, 6), (7, 0), (7, 3), (7, 8), (8, 2), (8, 5), (8, 7), (9, 0), (9, 4), (9, 8), (9, 10)),
        *((10, 0), (10, 1), (10, 2), (10, 3), (10, 6), (10, 11), (11, 2), (11, 4)),
    ),
    "small": ((5, 3), (5, 9), (8, 0), (8, 4), (8, 7), (8, 8), (9, 0), (9, 7), (9, 9), (10, 5)),
    "medium.en": (
        *((11, 4), (14, 1), (14, 12), (14, 14), (15, 4), (16, 0), (16, 4), (16, 9), (17, 12), (17, 14)),
        *((18, 7), (18, 10), (18, 15), (20, 0), (20, 3), (20, 9), (20, 14), (21, 12)),
    ),
    "medium": ((13, 15), (15, 4), (15, 15), (16, 1), (20, 0), (23, 4)),
    "large-v1": ((9, 19), (11, 2), (11, 4), (11, 17), (22, 7), (22, 11), (22, 17), (23, 2), (23, 15)),
    "large-v2": (
        *((10, 12), (13, 17), (16, 11), (16, 12), (16, 13), (17, 15), (17, 16), (18, 4), (18, 11), (18, 19)),
        *((19, 11), (21, 2), (21, 3), (22, 3), (22, 9), (22, 12), (23, 5), (23, 7), (23, 13), (25, 5)),
        *((26, 1), (26, 12), (27, 15)),
    ),
    "large-v3": (
        *((7, 0), (10, 17), (12, 18), (13, 12), (16, 1), (17, 14), (19, 11), (21, 4), (24, 1), (25, 6)),
    ),
    "large-v3-turbo": ((2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14)),
}
"""(layer, head) of the cross-attention heads that follow the audio (openai/whisper, `__init__.py`)."""

PUBLISHED_SIZES = {
    (4, 4, 51_864): "tiny.en",
    (4, 4, 51_865): "tiny",
    (6, 6, 51_864): "base.en",
    (6, 6, 51_865): "base",
    (12, 12, 51_864): "small.en",
    (12, 12, 51_865): "small",
    (24, 24, 51_864): "medium.en",
    (24, 24, 51_865): "medium",
    (32, 32, 51_865): "large-v2",
    (32, 32, 51_866): "large-v3",
    (32, 4, 51_866): "large-v3-turbo",
}
"""Encoder layers, decoder layers and tokens of OpenAI's sizes. large-v1 has those of large-v2."""

CTRANSLATE2_FIELDS = {
    "suppress_ids": "suppress_tokens",
    "suppress_ids_begin": "begin_suppress_tokens",
    "alignment_heads": "alignment_heads",
}
"""CTranslate2's names in `config.json`. Its `lang_ids` are left: English-only models list wrong ones."""


def load_generation_config(
    checkpoint: Checkpoint, config: WhisperConfig, tokenizer: WhisperTokenizer
) -> tuple[GenerationConfig, str]:
    """Return the checkpoint's generation config, complete, and a sentence on what was missing (or "").

    Raises:
        ModelError: If a file of the checkpoint is damaged, or its tokenizer is not Whisper's.
    """
    own = _own_fields(checkpoint)
    published = published_fields(config, tokenizer, checkpoint.name)
    missing = sorted(field for field in published if own.get(field) is None)
    complete = {**own, **{field: published[field] for field in missing}}
    # transformers would take no field of Whisper's own beside this mark of a config that it made up itself
    complete.pop("_from_model_config", None)
    sentences = []
    if complete.pop("forced_decoder_ids", None) is not None:
        sentences.append("forced_decoder_ids left out: language and task are always given")
    if missing and checkpoint.kind == "huggingface":
        sentences.append(f"generation config completed with Whisper's {', '.join(missing)}")
    return GenerationConfig(**complete), "; ".join(sentences)


def allow_empty_text(config: GenerationConfig) -> None:
    """Let a transcript be empty: Whisper's own settings keep end-of-text from being the first token.

    So a model that learned to write nothing where nobody speaks would have to write a word all the same.

    Example:
        >>> config = GenerationConfig(eos_token_id=50256, begin_suppress_tokens=[220, 50256])
        >>> allow_empty_text(config)
        >>> config.begin_suppress_tokens
        [220]
    """
    config.begin_suppress_tokens = [
        token for token in config.begin_suppress_tokens if token != config.eos_token_id
    ]


def published_fields(config: WhisperConfig, tokenizer: WhisperTokenizer, name: str) -> dict[str, Any]:
    """Return what OpenAI's generation configs on the Hub hold for a model of this shape.

    Args:
        config: The model's shape.
        tokenizer: Whose ids are written.
        name: The checkpoint's name, which tells large-v1 from large-v2.
    """
    marks = ("startoftranscript", "translate", "transcribe", "startoflm", "startofprev")
    special = [_token_id(tokenizer, f"<|{mark}|>") for mark in marks]
    end_of_text = _token_id(tokenizer, "<|endoftext|>")
    no_timestamps = _token_id(tokenizer, "<|notimestamps|>")
    multilingual = config.vocab_size > ENGLISH_ONLY_SIZE
    non_speech = NON_SPEECH_TOKENS_MULTI if multilingual else NON_SPEECH_TOKENS
    fields: dict[str, Any] = {
        "alignment_heads": [list(pair) for pair in alignment_heads(config, name)],
        "begin_suppress_tokens": [_token_id(tokenizer, "Ġ"), end_of_text],
        "bos_token_id": end_of_text,
        "decoder_start_token_id": special[0],
        "eos_token_id": end_of_text,
        "is_multilingual": multilingual,
        "max_initial_timestamp_index": 50,
        "max_length": config.max_target_positions,
        "no_timestamps_token_id": no_timestamps,
        "pad_token_id": end_of_text,
        "prev_sot_token_id": special[-1],
        "return_timestamps": False,
        # The id before no_timestamps is "no speech", whose name differs between vocabularies
        "suppress_tokens": [*(i for i in non_speech if i < end_of_text), *special, no_timestamps - 1],
    }
    if multilingual:
        fields["lang_to_id"] = _language_ids(config.vocab_size, tokenizer)
        fields["task_to_id"] = {"transcribe": special[2], "translate": special[1]}
    return fields


def _language_ids(vocab_size: int, tokenizer: WhisperTokenizer) -> dict[str, int]:
    if vocab_size <= ENGLISH_ONLY_SIZE + 2:  # by position: old tokenizers name Hebrew <|iw|>
        return WhisperVocabulary(vocab_size).language_ids()
    known = tokenizer.get_vocab()
    return {token: known[token] for code in LANGUAGES if (token := f"<|{code}|>") in known}


def alignment_heads(config: WhisperConfig, name: str) -> tuple[tuple[int, int], ...]:
    """Return the (layer, head) pairs for word timestamps of a model.

    Unpublished shapes get every head of the later half of the decoder, OpenAI's default.
    """
    shape = (config.encoder_layers, config.decoder_layers, config.vocab_size)
    size = "large-v1" if size_of(name) == "large-v1" else PUBLISHED_SIZES.get(shape)
    if size is not None:
        return ALIGNMENT_HEADS[size]
    layers, heads = range(config.decoder_layers // 2, config.decoder_layers), config.decoder_attention_heads
    return tuple((layer, head) for layer in layers for head in range(heads))


def _own_fields(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what the checkpoint's own files say, under Hugging Face's names."""
    if checkpoint.kind == "openai":
        heads = openai_alignment_heads(checkpoint.path)
        return {} if heads is None else {"alignment_heads": heads}
    foreign = checkpoint.kind == "ctranslate2"
    path = checkpoint.path / ("config.json" if foreign else "generation_config.json")
    if not path.exists():
        return {}
    fields = _read_json(path)
    if foreign:
        return {ours: fields[theirs] for theirs, ours in CTRANSLATE2_FIELDS.items() if theirs in fields}
    return fields


def _read_json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is damaged", str(error), "copy it again from the model's source") from None
    if not isinstance(fields, dict):
        raise ModelError(f"{path} is damaged", "it is not a JSON object", "copy it again from its source")
    return fields


def _token_id(tokenizer: WhisperTokenizer, token: str) -> int:
    index = tokenizer.get_vocab().get(token)
    if index is None:
        raise ModelError(
            f"the tokenizer has no {token}",
            "it is not Whisper's",
            "copy the tokenizer from the model's source",
        )
    return int(index)
