"""What a Whisper needs beside its weights: tokenizer, generation config and feature extractor."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperTokenizer

from whisper_peft.model.checkpoints.finding import Checkpoint
from whisper_peft.model.checkpoints.generation_defaults import load_generation_config
from whisper_peft.model.checkpoints.whisper_tokenizers import load_tokenizer, save_tokenizer


@dataclass
class Companions:
    """The files that travel with the weights through training, merge and export.

    `sentences` says what the checkpoint lacked and what was taken instead; it is empty for complete ones.
    """

    tokenizer: WhisperTokenizer
    generation_config: GenerationConfig
    feature_extractor: WhisperFeatureExtractor
    sentences: tuple[str, ...] = ()


def load_companions(checkpoint: Checkpoint, config: WhisperConfig) -> Companions:
    """Return the companions of a checkpoint, complete in every format.

    Args:
        checkpoint: Whose own files are kept whole; only what they lack is filled in.
        config: The model's configuration, which tells the vocabulary and the number of mel bins.

    Raises:
        ModelError: If a file is damaged, or there is no tokenizer at hand.
    """
    tokenizer, tokens = load_tokenizer(checkpoint, config.vocab_size)
    generation_config, generation = load_generation_config(checkpoint, config, tokenizer)
    # Whisper's features are fixed but for the number of mel bins: 80, and 128 since large-v3
    feature_extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    sentences = tuple(sentence for sentence in (tokens, generation) if sentence)
    return Companions(tokenizer, generation_config, feature_extractor, sentences)


def save_companions(companions: Companions, folder: Path) -> None:
    """Write the companions into a folder, with every file that other tools need.

    That is tokenizer.json, tokenizer_config.json, vocab.json, merges.txt, added_tokens.json,
    special_tokens_map.json, normalizer.json, preprocessor_config.json and generation_config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(companions.tokenizer, folder)
    companions.feature_extractor.save_pretrained(folder)
    # AutoProcessor finds tokenizer and feature extractor together by this name only
    path = folder / "preprocessor_config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**fields, "processor_class": "WhisperProcessor"}, indent=2) + "\n")
    companions.generation_config.save_pretrained(folder)
