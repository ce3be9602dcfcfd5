"""Loads Whisper's tokenizer complete, and saves it with every file that other tools read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from tokenizers import AddedToken
from transformers import WhisperTokenizer

from whisper_peft.errors import ModelError
from whisper_peft.model.checkpoints.finding import HUB_NAMES, Checkpoint
from whisper_peft.model.checkpoints.installed_weights import WEIGHT_WHEELS
from whisper_peft.model.checkpoints.vocabulary import ENGLISH_ONLY_SIZE, WhisperVocabulary, timestamp_tokens
from whisper_peft.types import MAX_LABEL_TOKENS

END_OF_TEXT = "<|endoftext|>"


def load_tokenizer(checkpoint: Checkpoint, vocab_size: int) -> tuple[WhisperTokenizer, str]:
    """Return the checkpoint's tokenizer, else its size's, and a sentence on what was done (or "").

    Args:
        checkpoint: Whose `tokenizer.json` (or `vocab.json` and `merges.txt`) is taken where there is one.
        vocab_size: Rows of the token embedding, which tell the vocabulary where there is none.

    Raises:
        ModelError: If the files are damaged, or there are none and no vocabulary of this size is at hand.
    """
    folder = checkpoint.path.parent if checkpoint.kind == "openai" else checkpoint.path
    if (folder / "tokenizer.json").exists() or (folder / "vocab.json").exists():
        tokenizer = _read_tokenizer(folder)
        if not _fits(tokenizer, vocab_size):
            raise ModelError(
                f"the tokenizer in {folder} has {len(tokenizer)} tokens",
                f"the model has {vocab_size}: they do not belong together",
                "copy the tokenizer from the model's source",
            )
        return tokenizer, ""
    vocabulary = WhisperVocabulary(vocab_size)
    source = _vocabulary_source(vocabulary)
    if source is None:
        raise ModelError(
            f"{folder} has no tokenizer.json",
            f"and no vocabulary with {vocab_size} tokens is installed or in the Hub cache",
            'pip install "whisper-peft[demo]", or copy tokenizer.json from the model\'s source',
        )
    return _build_tokenizer(vocabulary, source), f"tokenizer: Whisper's own for {vocab_size} tokens, {source}"


def save_tokenizer(tokenizer: WhisperTokenizer, folder: Path) -> None:
    """Write the tokenizer with the files of every reader: fast, slow, old and new.

    transformers 5 writes two files; its version 4, CTranslate2's and whisper.cpp's converters and
    `EnglishTextNormalizer` also need the vocabulary, the merges, the added tokens and the spelling map.
    """
    tokenizer.save_pretrained(folder)
    tokenizer.save_vocabulary(str(folder))  # vocab.json, merges.txt, normalizer.json
    plain = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    added = {token: index for token, index in tokenizer.get_vocab().items() if token not in plain}
    _write_json(folder / "added_tokens.json", dict(sorted(added.items(), key=lambda item: item[1])))
    _write_json(folder / "special_tokens_map.json", _special_tokens(tokenizer))
    # transformers 4 wants its own name for the list of special tokens, and cannot read version 5's
    path = folder / "tokenizer_config.json"
    kept = {"is_local", "local_files_only", "extra_special_tokens", "name_or_path"}
    fields = {k: v for k, v in json.loads(path.read_text(encoding="utf-8")).items() if k not in kept}
    _write_json(path, {**fields, **_special_tokens(tokenizer), "processor_class": "WhisperProcessor"})


def english_spelling() -> dict[str, str]:
    """Return the map from British to American spelling of Whisper's English normaliser.

    Example:
        >>> english_spelling()["colour"]
        'color'
    """
    packaged = files("whisper_peft") / "english_spelling.json"
    spelling: dict[str, str] = json.loads(packaged.read_text(encoding="utf-8"))
    return spelling


def _read_tokenizer(folder: Path) -> WhisperTokenizer:
    try:
        tokenizer = WhisperTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception on a damaged file
        raise ModelError(
            f"the tokenizer in {folder} cannot be read",
            (str(error) or type(error).__name__).splitlines()[0],
            "copy it again from the model's source",
        ) from None
    return _complete(tokenizer)


def _complete(tokenizer: WhisperTokenizer) -> WhisperTokenizer:
    """Give a tokenizer what older files leave out: roles of the special tokens, timestamps, spelling."""
    added = tokenizer.added_tokens_decoder
    special = [str(added[index]) for index in sorted(added) if added[index].special]
    # the last special id must be <|notimestamps|>: transformers counts timestamps from it
    tokenizer.add_special_tokens({"extra_special_tokens": [t for t in special if t != END_OF_TEXT]})
    if tokenizer.pad_token is None:
        tokenizer.pad_token = END_OF_TEXT
    if "<|0.00|>" not in tokenizer.get_vocab():
        tokenizer.add_tokens([AddedToken(t, normalized=True, special=False) for t in timestamp_tokens()])
    if tokenizer.english_spelling_normalizer is None:
        tokenizer.english_spelling_normalizer = english_spelling()
    tokenizer.model_max_length = min(tokenizer.model_max_length, MAX_LABEL_TOKENS)
    return tokenizer


def _fits(tokenizer: WhisperTokenizer, vocab_size: int) -> bool:
    ids = tokenizer.get_vocab()
    published = ENGLISH_ONLY_SIZE <= vocab_size <= ENGLISH_ONLY_SIZE + 2
    if published and ids.get("<|notimestamps|>") != WhisperVocabulary(vocab_size).no_timestamps:
        return False
    return max(ids.values()) < vocab_size


def _vocabulary_source(vocabulary: WhisperVocabulary) -> Path | None:
    """Return a tokenizer.json with the same byte pairs: installed, or in the Hub's cache."""
    english = not vocabulary.is_multilingual
    for wheel in WEIGHT_WHEELS:
        folder = wheel.folder()
        if wheel.size.endswith(".en") == english and folder is not None:
            return folder / "tokenizer.json"
    for size, repo_id in HUB_NAMES.items():
        cached = try_to_load_from_cache(repo_id, "tokenizer.json")
        if size.endswith(".en") == english and isinstance(cached, str):
            return Path(cached)
    return None


def _build_tokenizer(vocabulary: WhisperVocabulary, source: Path) -> WhisperTokenizer:
    model = json.loads(source.read_text(encoding="utf-8"))["model"]
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
    special = [token for token in vocabulary.special_tokens() if token != END_OF_TEXT]
    tokenizer = WhisperTokenizer(vocab=model["vocab"], merges=merges, extra_special_tokens=special)
    return _complete(tokenizer)


def _special_tokens(tokenizer: WhisperTokenizer) -> Mapping[str, Any]:
    roles = ("bos_token", "eos_token", "unk_token", "pad_token")
    return {
        **{role: str(getattr(tokenizer, role)) for role in roles},
        "additional_special_tokens": [str(token) for token in tokenizer.extra_special_tokens],
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
