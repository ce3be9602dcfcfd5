"""Longer speech with known boundaries, made of decoded utterances of a split."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from whisper_peft.types import SAMPLING_RATE, WINDOW_S, Utterance, Waveform


@dataclass(frozen=True)
class Stitched:
    """Utterances said one after the other, in one language and task.

    Attributes:
        utterances: Decoded.
        waveform: All of them.
        ends_s: Where each ends.
    """

    utterances: tuple[Utterance, ...]

    @property
    def waveform(self) -> Waveform:
        """All samples, end to end."""
        return np.concatenate([one.waveform for one in self.utterances])

    @property
    def ends_s(self) -> list[float]:
        """Where each utterance ends; the last where the speech does."""
        return [*itertools.accumulate(len(one.waveform) / SAMPLING_RATE for one in self.utterances)]

    @property
    def text(self) -> str:
        """What is said."""
        return " ".join(one.text for one in self.utterances)

    @property
    def language(self) -> str | None:
        """Language of the first utterance, which is that of all."""
        return self.utterances[0].language


def stitch_windows(utterances: Iterable[Utterance], limit_s: float = WINDOW_S) -> list[Stitched]:
    """Join utterances in their order to windows of at most `limit_s`.

    Example:
        >>> rows = [Utterance(str(n), np.zeros(8000, np.float32), "", sampling_rate=16_000) for n in range(5)]
        >>> [len(window.utterances) for window in stitch_windows(rows, 1.0)]
        [2, 2, 1]
    """
    windows: list[list[Utterance]] = []
    for utterance in utterances:
        last = windows[-1] if windows else []
        if last and _alike(last[0], utterance) and _seconds([*last, utterance]) <= limit_s:
            last.append(utterance)
        else:
            windows.append([utterance])
    return [Stitched(tuple(window)) for window in windows]


def stitch_recordings(utterances: Sequence[Utterance], shortest_s: float) -> list[Stitched]:
    """Join utterances, those of a speaker together, to recordings of at least `shortest_s`; a rest is left.

    Example:
        >>> rows = [Utterance(str(n), np.zeros(8000, np.float32), "", sampling_rate=16_000) for n in range(5)]
        >>> [len(recording.utterances) for recording in stitch_recordings(rows, 1.0)]
        [2, 2]
    """
    recordings: list[Stitched] = []
    waiting: list[Utterance] = []
    for utterance in sorted(utterances, key=lambda row: (row.language or "", row.speaker_id or "")):
        if waiting and not _alike(waiting[0], utterance):
            waiting = []
        waiting.append(utterance)
        if _seconds(waiting) >= shortest_s:
            recordings.append(Stitched(tuple(waiting)))
            waiting = []
    return recordings


def _alike(first: Utterance, second: Utterance) -> bool:
    return (first.language, first.task) == (second.language, second.task)


def _seconds(utterances: Sequence[Utterance]) -> float:
    return sum(len(one.waveform) for one in utterances) / SAMPLING_RATE
