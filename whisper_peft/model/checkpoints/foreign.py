"""What the readers of other formats hand over: a configuration and weights under Hugging Face's names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers import WhisperConfig, WhisperForConditionalGeneration

from whisper_peft.errors import ModelError
from whisper_peft.model.checkpoints.vocabulary import WhisperVocabulary

HEAD_SIZE = 64
"""Every published Whisper has attention heads of 64: 6 at width 384, ... 20 at width 1280."""


@dataclass(frozen=True)
class ForeignWeights:
    """A checkpoint read from another format.

    `state` is the complete state of a `WhisperForConditionalGeneration` of `config`, each tensor in the
    file's own dtype; `proj_out.weight` is the embedding itself where the two are tied. `sentence` says what
    was done to the weights, and is empty when they are the file's own bits.
    """

    config: WhisperConfig
    state: dict[str, Tensor] = field(repr=False)
    sentence: str = ""


def complete_weights(
    state: dict[str, Tensor], heads: tuple[int, int] | None, path: Path, sentence: str = ""
) -> ForeignWeights:
    """Return renamed weights with the configuration that their shapes imply, complete and checked.

    Args:
        state: Tensors under Hugging Face's names; without `proj_out.weight`, the output is tied.
        heads: Attention heads of encoder and decoder where the file says, else from the width.
        path: The file, for messages.
        sentence: What was done to the weights.

    Raises:
        ModelError: If tensors are missing, unknown or of the wrong shape.
    """
    tied = "proj_out.weight" not in state
    embedding = "model.decoder.embed_tokens.weight"
    if tied and embedding in state:
        state["proj_out.weight"] = state[embedding]
    try:
        config = _config_of(state, heads, tied=tied)
    except KeyError as missing:
        raise ModelError(
            f"{path} has no tensor for {missing.args[0]}",
            "it is not a complete Whisper checkpoint",
            "convert or download it again",
        ) from None
    _refuse_incomplete(state, config, path)
    return ForeignWeights(config, state, sentence)


def _config_of(state: dict[str, Tensor], heads: tuple[int, int] | None, *, tied: bool) -> WhisperConfig:
    vocab_size, width = state["model.decoder.embed_tokens.weight"].shape
    vocabulary = WhisperVocabulary(vocab_size)
    encoder_heads, decoder_heads = heads or (width // HEAD_SIZE, width // HEAD_SIZE)
    if any(count < 1 or width % count for count in (encoder_heads, decoder_heads)):
        raise ModelError(
            f"the checkpoint claims {encoder_heads} and {decoder_heads} attention heads",
            f"they do not divide its width of {width}",
            "the file is damaged: download it again",
        )
    return WhisperConfig(
        vocab_size=vocab_size,
        d_model=width,
        num_mel_bins=state["model.encoder.conv1.weight"].shape[1],
        encoder_layers=_count_layers(state, "encoder"),
        decoder_layers=_count_layers(state, "decoder"),
        encoder_attention_heads=encoder_heads,
        decoder_attention_heads=decoder_heads,
        encoder_ffn_dim=state["model.encoder.layers.0.fc1.weight"].shape[0],
        decoder_ffn_dim=state["model.decoder.layers.0.fc1.weight"].shape[0],
        max_source_positions=state["model.encoder.embed_positions.weight"].shape[0],
        max_target_positions=state["model.decoder.embed_positions.weight"].shape[0],
        bos_token_id=vocabulary.end_of_text,
        eos_token_id=vocabulary.end_of_text,
        pad_token_id=vocabulary.end_of_text,
        decoder_start_token_id=vocabulary.start_of_transcript,
        begin_suppress_tokens=[220, vocabulary.end_of_text],
        tie_word_embeddings=tied,
    )


def _count_layers(state: dict[str, Tensor], part: str) -> int:
    prefix = f"model.{part}.layers."
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})


def _refuse_incomplete(state: dict[str, Tensor], config: WhisperConfig, path: Path) -> None:
    with torch.device("meta"):
        expected = WhisperForConditionalGeneration(config).state_dict()
    problems = [f"no {name}" for name in sorted(expected.keys() - state.keys())]
    problems += [f"unknown {name}" for name in sorted(state.keys() - expected.keys())]
    problems += [
        f"{name} has shape {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & state.keys())
        if state[name].shape != expected[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ModelError(
            f"{path} is not a complete Whisper checkpoint",
            "; ".join(problems[:4]) + more,
            "convert or download it again",
        )
