from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.whisper.generation_whisper import _dynamic_time_warping

from whisper_peft.data.audio.decoding import decode
from whisper_peft.evaluation.generation import decode_states, decoder_prefix, encode, listening
from whisper_peft.evaluation.word_alignment import Examination, _alignment, examine, warp
from whisper_peft.model.loading import Whisper
from whisper_peft.types import Utterance, Waveform


@pytest.mark.parametrize("seed", range(5))
def test_the_path_is_that_of_transformers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = rng.standard_normal((int(rng.integers(1, 12)), int(rng.integers(1, 40)))).astype(np.float32)
    rows, columns = _dynamic_time_warping(costs.astype(np.float64))
    assert warp(costs) == (rows.tolist(), columns.tolist())


def looked_at(whisper: Whisper, waveform: Waveform, prompt: tuple[int, ...] = ()) -> tuple[str, Examination]:
    with listening(whisper):
        states = encode(whisper, [waveform], audio_context="full")
        prefix = decoder_prefix(whisper, None, "transcribe", prompt_tokens=prompt)
        (found,) = decode_states(whisper, states, [prefix], seconds=[len(waveform) / 16_000])
        seen = examine(
            whisper, states, prefix, found.tokens, language="en", duration_s=len(waveform) / 16_000
        )
    return found.text, seen


@pytest.fixture(scope="module")
def waveform(prompts_en: list[dict[str, Any]]) -> Waveform:
    return decode(Utterance("a", Path(prompts_en[0]["file_name"]), "")).waveform


def test_words_move_with_the_speech(tiny_en: Whisper, waveform: Waveform) -> None:
    text, seen = looked_at(tiny_en, waveform)
    later, moved = looked_at(tiny_en, np.concatenate([np.zeros(32_000, np.float32), waveform]))
    assert "".join(word.text for word in seen.words).strip() == text == later
    shifts = [b.end_s - a.end_s for a, b in zip(seen.words, moved.words, strict=True)]
    assert np.median(shifts) == pytest.approx(2.0, abs=0.06)


def test_words_are_within_the_clip_and_in_order(tiny_en: Whisper, waveform: Waveform) -> None:
    _, seen = looked_at(tiny_en, waveform)
    edges = [edge for word in seen.words for edge in (word.start_s, word.end_s)]
    assert edges == sorted(edges)
    assert 0 <= edges[0] <= edges[-1] <= len(waveform) / 16_000


def test_a_prompt_moves_no_word_far(tiny_en: Whisper, waveform: Waveform) -> None:
    prompt = tuple(tiny_en.tokenizer.encode(" A telephone system.", add_special_tokens=False))
    text, seen = looked_at(tiny_en, waveform)
    told, prompted = looked_at(tiny_en, waveform, prompt)
    assert told == text
    for a, b in zip(seen.words, prompted.words, strict=True):
        assert abs(a.start_s - b.start_s) < 0.3


def test_silence_has_no_words_and_no_speech_is_more_probable_there(
    tiny_en: Whisper, waveform: Waveform
) -> None:
    _, seen = looked_at(tiny_en, waveform)
    noise = 1e-4 * np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    _, silent = looked_at(tiny_en, noise)
    assert silent.no_speech_probability > 5 * seen.no_speech_probability
    assert seen.mean_log_probability > silent.mean_log_probability


def test_a_model_is_left_without_hooks(tiny_en: Whisper, waveform: Waveform) -> None:
    looked_at(tiny_en, waveform)
    layers = tiny_en.core.model.decoder.layers
    assert not any(layer.encoder_attn._forward_pre_hooks for layer in layers)


def test_attention_computed_in_bf16_is_read_in_single_precision() -> None:
    seen = [torch.rand(3, 9, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)]
    found = _alignment(seen, 1)
    assert (found.dtype, found.shape) == (np.float32, (2, 9))
