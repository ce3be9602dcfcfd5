"""Long recordings cut where nobody speaks, by the energy of the sound alone.

A detector is only asked for places to cut and for stretches to leave out, so energy suffices, and nothing is
downloaded or loaded. What it takes for speech by mistake (music, noise) is heard like speech.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from whisper_peft.types import SAMPLING_RATE, WINDOW_S, Waveform

FRAME_S = 0.02
"""Energy is looked at in steps of this."""

FRAME_SAMPLES = int(FRAME_S * SAMPLING_RATE)

ABOVE_NOISE_DB = 9.0
"""Speech is at least so much louder than the noise, which is the recording's 10th percentile."""

BELOW_PEAK_DB = 45.0
"""Nothing so far below the loudest tenth of a percent is speech, however quiet the noise."""

SILENCE_DB = -75.0
"""Below this nobody speaks, whatever the rest of the recording is like (0 is full scale)."""

SHORTEST_PAUSE_S = 0.16
"""Shorter gaps belong to words: closures of stop consonants last up to 0.15 s."""

MARGIN_S = 0.3
"""Kept around speech: onsets and endings are quieter than the threshold."""

SEARCHED_FROM = 0.5
"""A window is cut in its later half, at the middle of its longest pause."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Samples of a recording from `start` up to `stop`."""

    start: int
    stop: int

    @property
    def start_s(self) -> float:
        """Where it begins."""
        return self.start / SAMPLING_RATE


def cut_at_pauses(waveform: Waveform) -> list[Stretch]:
    """Return the stretches of a recording to transcribe, none longer than 30 s.

    A recording that fits into one window is one stretch. Of a longer one, stretches without speech are left
    out, and so is silence around speech.

    Example:
        >>> second = np.sin(np.arange(16_000) / 10).astype(np.float32)
        >>> talk = np.concatenate([np.tile(second, 20), np.zeros(16_000, np.float32), np.tile(second, 20)])
        >>> [(one.start_s, one.stop / 16_000) for one in cut_at_pauses(talk)]
        [(0.0, 20.3), (20.7, 41.0)]
    """
    window = int(WINDOW_S * SAMPLING_RATE)
    if len(waveform) <= window:
        return [Stretch(0, len(waveform))]
    levels = _levels_db(waveform)
    speech = _speech(levels)
    stretches = (_trimmed(part, speech, len(waveform)) for part in _parts(levels, speech))
    return [one for one in stretches if one is not None]


def _levels_db(waveform: Waveform) -> NDArray[np.float32]:
    """Return the level of each frame in dB of full scale."""
    frames = len(waveform) // FRAME_SAMPLES
    framed = waveform[: frames * FRAME_SAMPLES].reshape(frames, FRAME_SAMPLES)
    power = np.einsum("ij,ij->i", framed, framed, dtype=np.float32) / FRAME_SAMPLES
    levels: NDArray[np.float32] = 10 * np.log10(power + np.float32(1e-12))
    return levels


def _speech(levels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell the frames in which somebody may speak; gaps within words are filled."""
    noise, peak = np.percentile(levels, [10, 99.9])
    threshold = max(min(noise + ABOVE_NOISE_DB, peak - 6.0), peak - BELOW_PEAK_DB, SILENCE_DB)
    speech: NDArray[np.bool_] = levels > threshold
    for start, stop in _runs(~speech):
        if start > 0 and stop < len(speech) and (stop - start) * FRAME_S < SHORTEST_PAUSE_S:
            speech[start:stop] = True
    return speech


def _runs(mask: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield where the mask holds, as ranges."""
    place = 0
    for holds, run in groupby(mask.tolist()):
        length = sum(1 for _ in run)
        if holds:
            yield place, place + length
        place += length


def _parts(levels: NDArray[np.float32], speech: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield ranges of frames of at most 30 s that cover the recording, cut at pauses where there are any."""
    longest, start = int(WINDOW_S / FRAME_S), 0
    while len(speech) - start > longest:
        spoken = np.flatnonzero(speech[start : start + longest])
        if not len(spoken):
            start += longest
            continue
        start += max(int(spoken[0]) - int(MARGIN_S / FRAME_S), 0)
        if len(speech) - start <= longest:
            break
        first = start + int(SEARCHED_FROM * longest)
        cut = _quietest_place(levels, speech, first, start + longest)
        yield start, cut
        start = cut
    yield start, len(speech)


def _quietest_place(levels: NDArray[np.float32], speech: NDArray[np.bool_], first: int, last: int) -> int:
    """Return the middle of the longest pause in a range of frames, or its quietest frame."""
    pauses = [(first + start, first + stop) for start, stop in _runs(~speech[first:last])]
    if not pauses:
        return first + int(levels[first:last].argmin())
    start, stop = max(pauses, key=lambda pause: pause[1] - pause[0])
    return (start + stop) // 2


def _trimmed(part: tuple[int, int], speech: NDArray[np.bool_], length: int) -> Stretch | None:
    """Return a part without the silence around its speech, None where there is none."""
    start, stop = part
    spoken = np.flatnonzero(speech[start:stop])
    if not len(spoken):
        return None
    margin = int(MARGIN_S / FRAME_S)
    first = max(start + int(spoken[0]) - margin, start)
    last = min(start + int(spoken[-1]) + 1 + margin, stop)
    return Stretch(first * FRAME_SAMPLES, length if last == len(speech) else last * FRAME_SAMPLES)
