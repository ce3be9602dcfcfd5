"""Words that a model invents where nobody speaks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whisper_peft.data.targets.no_speech import Quiet, no_speech_row
from whisper_peft.evaluation.generation import (
    AudioContext,
    decode_states,
    decoder_prefix,
    encode,
    listening,
)
from whisper_peft.evaluation.long_form import no_speech_probabilities
from whisper_peft.model.adapters.folding import folded
from whisper_peft.model.loading import Whisper
from whisper_peft.types import SAMPLING_RATE, SilenceProbe, Utterance, Waveform

SEED = 20_221_206
"""The clips are the same in every run: those of no training are drawn from it."""


def quiet_clips(count: int, quiet: Quiet) -> list[Waveform]:
    """Return so many clips of 1 to 30 s without speech, always the same.

    Example:
        >>> first, again = quiet_clips(2, Quiet()), quiet_clips(2, Quiet())
        >>> all(np.array_equal(*pair) for pair in zip(first, again))
        True
    """
    rng = np.random.default_rng(SEED)
    like = [Utterance("", b"", "")]
    return [quiet(no_speech_row(rng, among=like), rng).waveform for _ in range(count)]


def probe_silence(
    whisper: Whisper,
    clips: Sequence[Waveform],
    *,
    language: str | None,
    task: str = "transcribe",
    audio_context: AudioContext = "full",
    batch_size: int = 8,
) -> SilenceProbe:
    """Count the words that are written for clips in which nobody speaks, as evaluation transcribes them.

    Args:
        whisper: Model and companions.
        clips: Samples at 16 kHz, of at most 30 s each, such as `quiet_clips`.
        language: Language that the model is told.
        task: transcribe or translate.
        audio_context: full: 30 s; cut: as long as the clip.
        batch_size: Clips transcribed together.
    """
    words: list[int] = []
    chances: list[float] = []
    prefix = decoder_prefix(whisper, language, task)
    with folded(whisper), listening(whisper):
        for start in range(0, len(clips), batch_size):
            batch = clips[start : start + batch_size]
            states = encode(whisper, batch, audio_context=audio_context)
            prefixes = [prefix] * len(batch)
            seconds = [len(clip) / SAMPLING_RATE for clip in batch]
            generations = decode_states(whisper, states, prefixes, seconds=seconds)
            words += [len(generation.text.split()) for generation in generations]
            chances += no_speech_probabilities(whisper, states, prefixes)
    return SilenceProbe(
        clips=len(clips),
        clips_with_words=sum(count > 0 for count in words),
        words=sum(words),
        no_speech_probability=sum(chances) / max(len(chances), 1),
    )
