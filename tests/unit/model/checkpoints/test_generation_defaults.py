from __future__ import annotations

import json

import pytest
from transformers import WhisperConfig

from whisper_peft.model.checkpoints.finding import Checkpoint, resolve_checkpoint
from whisper_peft.model.checkpoints.generation_defaults import (
    ALIGNMENT_HEADS,
    PUBLISHED_SIZES,
    alignment_heads,
    load_generation_config,
    published_fields,
)
from whisper_peft.model.checkpoints.installed_weights import installed_wheel
from whisper_peft.model.checkpoints.whisper_tokenizers import load_tokenizer

SHAPES = {"tiny.en": (4, 51_864), "base": (6, 51_865)}
HEADS = {"tiny": 6, "base": 8, "small": 12, "medium": 16, "large": 20}


@pytest.mark.parametrize("size", SHAPES)
def test_published_values_equal_those_that_ctranslate2_converted(size):
    folder = installed_wheel(size).folder()
    layers, vocab_size = SHAPES[size]
    config = WhisperConfig(encoder_layers=layers, decoder_layers=layers, vocab_size=vocab_size)
    tokenizer, _ = load_tokenizer(resolve_checkpoint(str(folder)), vocab_size)
    fields = published_fields(config, tokenizer, "anything")
    converted = json.loads((folder / "config.json").read_text())
    assert fields["suppress_tokens"] == converted["suppress_ids"]
    assert fields["begin_suppress_tokens"] == converted["suppress_ids_begin"]
    assert fields["alignment_heads"] == converted["alignment_heads"]
    if size == "base":
        assert list(fields["lang_to_id"].values()) == converted["lang_ids"]


def test_english_only_model_has_no_languages_whatever_its_file_lists():
    checkpoint = resolve_checkpoint(str(installed_wheel("tiny.en").folder()))
    assert json.loads((checkpoint.path / "config.json").read_text())["lang_ids"]
    tokenizer, _ = load_tokenizer(checkpoint, 51_864)
    generation, _ = load_generation_config(checkpoint, WhisperConfig(vocab_size=51_864), tokenizer)
    fields = generation.to_dict()
    assert fields["is_multilingual"] is False
    assert "lang_to_id" not in fields
    assert "task_to_id" not in fields


def test_alignment_heads_exist_in_every_published_size():
    assert set(PUBLISHED_SIZES.values()) | {"large-v1"} == set(ALIGNMENT_HEADS)
    for (encoder_layers, decoder_layers, vocab_size), size in PUBLISHED_SIZES.items():
        config = WhisperConfig(
            encoder_layers=encoder_layers, decoder_layers=decoder_layers, vocab_size=vocab_size
        )
        heads = alignment_heads(config, "mine")
        assert heads == ALIGNMENT_HEADS[size]
        assert all(
            layer < decoder_layers and head < HEADS[size.split(".")[0].split("-")[0]] for layer, head in heads
        )


@pytest.mark.parametrize("name", ["large-v1", "large-v1.pt", "openai/whisper-large"])
def test_large_v1_is_told_from_large_v2_by_its_name(name):
    config = WhisperConfig(encoder_layers=32, decoder_layers=32, vocab_size=51_865)
    assert alignment_heads(config, name) == ALIGNMENT_HEADS["large-v1"]
    assert alignment_heads(config, "large-v2.pt") == ALIGNMENT_HEADS["large-v2"]


def test_unpublished_depth_aligns_with_the_later_half_of_the_decoder():
    config = WhisperConfig(encoder_layers=32, decoder_layers=2, decoder_attention_heads=3, vocab_size=51_866)
    assert alignment_heads(config, "distil-large-v3") == ((1, 0), (1, 1), (1, 2))


def test_old_tokenizers_name_for_hebrew_does_not_lose_it(tmp_path):
    folder = installed_wheel("base").folder()
    old = (folder / "tokenizer.json").read_text().replace("<|he|>", "<|iw|>")
    (tmp_path / "tokenizer.json").write_text(old)
    tokenizer, _ = load_tokenizer(Checkpoint("old", "huggingface", tmp_path, ""), 51_865)
    fields = published_fields(WhisperConfig(vocab_size=51_865), tokenizer, "old")
    assert fields["lang_to_id"]["<|he|>"] == tokenizer.convert_tokens_to_ids("<|iw|>")


def test_config_that_transformers_made_up_keeps_whispers_own_fields(tmp_path, small_whisper):
    small_whisper(vocab_size=51_865).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "generation_config.json").read_text())["_from_model_config"]
    checkpoint = resolve_checkpoint(str(tmp_path))
    config = WhisperConfig.from_pretrained(tmp_path)
    tokenizer, _ = load_tokenizer(checkpoint, 51_865)
    generation, _ = load_generation_config(checkpoint, config, tokenizer)
    assert generation.to_dict()["is_multilingual"] is True
    assert generation.to_dict()["lang_to_id"]["<|fr|>"] == 50_265
