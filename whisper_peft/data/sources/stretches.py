"""A stretch of a longer recording, in seconds, and the samples that lie in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from whisper_peft.errors import AudioError

OVERSHOOT_S = 0.5
"""By how much a stretch may outlast its recording and is cut there (`--max-overshoot` of Kaldi's
`extract-segments`): transcripts are timed by hand, and times are rounded."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of a recording: from a second on, until another one or the recording's end."""

    start_s: float = 0.0
    end_s: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole recording."""
        return self.start_s == 0 and self.end_s is None

    def samples(self, rate: int, count: int | None) -> range:
        """Return the samples that lie in it, from `round(start_s * rate)` to `round(end_s * rate)`.

        Args:
            rate: Samples per second.
            count: Samples of the recording; None where its header does not tell. A stretch without an end
                then ends with the largest number of samples that any file can hold.

        Raises:
            AudioError: `bad-times` for what is no time, ends before it begins, or is not in the recording.

        Example:
            >>> Stretch(0.5, 1.25).samples(16_000, count=32_000)
            range(8000, 20000)
        """
        self._check_order()
        first = round(self.start_s * rate)
        last = _UNKNOWN_END if self.end_s is None else round(self.end_s * rate)
        if count is not None:
            self._check_inside(last, first, rate, count)
            last = min(last, count)
        if first >= last and not self.is_whole:
            raise self.refusal("there is no sample in it")
        return range(first, last)

    def _check_order(self) -> None:
        given = [self.start_s] if self.end_s is None else [self.start_s, self.end_s]
        if not all(math.isfinite(time) for time in given):
            raise self.refusal("these are no times")
        if self.start_s < 0:
            raise self.refusal("it begins before the recording")
        if self.end_s is not None and self.end_s <= self.start_s:
            raise self.refusal("it ends before it begins")

    def _check_inside(self, last: int, first: int, rate: int, count: int) -> None:
        is_late = self.end_s is not None and last > count + OVERSHOOT_S * rate
        if is_late or (first >= count and not self.is_whole):
            raise self.refusal(f"the recording ends at {count / rate:.2f} s")

    def refusal(self, why: str) -> AudioError:
        """Return the error that says why this is no stretch of the recording."""
        end = "the end" if self.end_s is None else f"{self.end_s} s"
        why = f"the stretch from {self.start_s} s to {end}: {why}"
        return AudioError("", why, "mend the times of the row", reason="bad-times")


_UNKNOWN_END = 1 << 62
