from __future__ import annotations

import json

import pytest

from whisper_peft.errors import ModelError
from whisper_peft.model.checkpoints.installed_weights import installed_wheel
from whisper_peft.model.checkpoints.vocabulary import WhisperVocabulary, timestamp_tokens


@pytest.mark.parametrize(("size", "vocab_size"), [("tiny.en", 51_864), ("base", 51_865)])
def test_ids_equal_those_of_published_tokenizers(size, vocab_size):
    path = installed_wheel(size).folder() / "tokenizer.json"
    published = {token["content"]: token["id"] for token in json.loads(path.read_text())["added_tokens"]}
    renamed = {"<|iw|>": "<|he|>", "<|nocaptions|>": "<|nospeech|>"}
    published = {renamed.get(token, token): index for token, index in published.items()}
    assert WhisperVocabulary(vocab_size).special_tokens() == published


@pytest.mark.parametrize("vocab_size", [51_864, 51_865, 51_866])
def test_timestamps_fill_the_vocabulary_to_its_end(vocab_size):
    vocabulary = WhisperVocabulary(vocab_size)
    assert vocabulary.no_timestamps + 1 + len(timestamp_tokens()) == vocab_size


@pytest.mark.parametrize("vocab_size", [51_863, 51_867, 32_000])
def test_other_sizes_are_refused(vocab_size):
    with pytest.raises(ModelError, match=f"{vocab_size} tokens"):
        WhisperVocabulary(vocab_size)
