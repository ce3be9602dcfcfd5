"""How sure a model is of its own transcripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from whisper_peft.data.audio.decoding import decode
from whisper_peft.evaluation.certainty import Certainty, certainties
from whisper_peft.evaluation.generation import (
    AudioContext,
    Generation,
    decode_states,
    decoder_prefix,
    encode,
    listening,
)
from whisper_peft.model.loading import Whisper
from whisper_peft.types import SAMPLING_RATE, Utterance, Waveform


def heard(
    whisper: Whisper, clips: list[Waveform], audio_context: AudioContext = "full"
) -> tuple[list[Generation], list[Certainty]]:
    prefixes = [decoder_prefix(whisper, None, "transcribe")] * len(clips)
    with listening(whisper):
        states = encode(whisper, clips, audio_context=audio_context)
        seconds = [len(clip) / SAMPLING_RATE for clip in clips]
        written = decode_states(whisper, states, prefixes, seconds=seconds)
        return written, certainties(whisper, states, prefixes, written)


@pytest.fixture
def clips(prompts_en: list[dict[str, Any]]) -> list[Waveform]:
    rows = sorted(prompts_en, key=lambda row: row["duration_s"])[10:90:20]
    return [decode(Utterance("", Path(row["file_name"]), "")).waveform for row in rows]


@pytest.mark.parametrize("audio_context", ["full", "cut"])
def test_row_is_as_sure_alone_as_in_a_batch(
    tiny_en: Whisper, clips: list[Waveform], audio_context: AudioContext
) -> None:
    _, together = heard(tiny_en, clips, audio_context)
    alone = [heard(tiny_en, [clip], audio_context)[1][0] for clip in clips]
    for one, other in zip(together, alone, strict=True):
        assert one.mean_log_probability == pytest.approx(other.mean_log_probability, abs=1e-4)
        assert one.no_speech_probability == pytest.approx(other.no_speech_probability, abs=1e-4)


def test_greedy_search_is_as_sure_as_a_second_pass_among_the_tokens_it_may_write(
    tiny_en: Whisper, clips: list[Waveform]
) -> None:
    for written, sure in zip(*heard(tiny_en, clips), strict=True):
        assert written.mean_log_probability is not None
        assert 0 <= written.mean_log_probability - sure.mean_log_probability < 0.01


def test_certainty_is_the_mean_over_words_and_end(tiny_en: Whisper, clips: list[Waveform]) -> None:
    (written,), (sure,) = heard(tiny_en, clips[:1])
    prefix, end = decoder_prefix(tiny_en, None, "transcribe"), tiny_en.tokenizer.eos_token_id
    total, tokens = 0.0, [*written.tokens, end]
    with listening(tiny_en):
        states = encode(tiny_en, clips[:1], audio_context="full")
        for place, token in enumerate(tokens):
            given = torch.tensor([[*prefix, *tokens[:place]]])
            sound = BaseModelOutput(last_hidden_state=states.hidden)
            logits = tiny_en.core(encoder_outputs=sound, decoder_input_ids=given).logits[0, -1]
            total += float(logits.log_softmax(dim=-1)[token])
    assert sure.mean_log_probability == pytest.approx(total / len(tokens), abs=1e-4)


def test_model_is_surer_of_speech_than_of_noise(tiny_en: Whisper, clips: list[Waveform]) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLING_RATE).astype(np.float32)
    _, (speech, noisy) = heard(tiny_en, [clips[-1], noise])
    assert speech.confidence > noisy.confidence
    assert speech.no_speech_probability < noisy.no_speech_probability
