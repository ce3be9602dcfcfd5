"""Undecoded utterances in batches of like length, so that short ones do not wait for long ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from whisper_peft.data.audio.decoding import header_duration_s
from whisper_peft.errors import AudioError
from whisper_peft.evaluation.generation import AudioContext, audio_frames
from whisper_peft.model.log_mel import MAX_FRAMES
from whisper_peft.types import WINDOW_S, Utterance

SORTED_BATCHES = 32
"""Batches' worth of undecoded utterances that are sorted by length at a time: memory is bounded by it."""

MOST_ROWS = 32
"""Rows of a batch of short speech: more are not faster, and wait longer for the one that says most."""


def batches_by_length(
    rows: Iterator[tuple[int, Utterance]], *, batch_size: int, audio_context: AudioContext
) -> Iterator[list[tuple[int, Utterance]]]:
    """Group numbered rows of like length, longest first, as many as fit the audio of a full batch.

    Args:
        rows: Utterances with their numbers.
        batch_size: Rows of a batch at 30 s context.
        audio_context: At a cut context more rows make a batch.

    Example:
        >>> rows = [(n, Utterance(str(n), b"", "", duration_s=s)) for n, s in enumerate([1.0, 9.0, 5.0])]
        >>> batches = batches_by_length(iter(rows), batch_size=2, audio_context="full")
        >>> [[place for place, _ in batch] for batch in batches]
        [[1, 2], [0]]
    """
    while window := list(itertools.islice(rows, SORTED_BATCHES * batch_size)):
        lengths = {place: _duration_s(row) for place, row in window}
        window.sort(key=lambda numbered: (-lengths[numbered[0]], numbered[0]))
        while window:
            frames = audio_frames(lengths[window[0][0]], audio_context)
            rows_here = min(batch_size * MAX_FRAMES // frames, max(MOST_ROWS, batch_size))
            yield window[:rows_here]
            window = window[rows_here:]


def _duration_s(utterance: Utterance) -> float:
    """Return the duration as far as the row or the header tells; a recording that cannot tell comes first."""
    try:
        known = utterance.duration_s or header_duration_s(
            utterance.audio, utterance.sampling_rate, start_s=utterance.start_s, end_s=utterance.end_s
        )
    except AudioError:
        return WINDOW_S
    return known or WINDOW_S
