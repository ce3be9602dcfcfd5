"""When a row of a search is over: it ended itself, is full, or loops, which no speech of its length does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

REPETITIONS = 4
"""A loop says the same at least so often in a row."""

REPEATED_TOKENS_PER_SECOND = 8
"""Nobody repeats himself faster: English and French prompts take at most 7 tokens a second."""

REPEATED_TOKENS_OFFSET = 16
"""Room for a stammer in a very short clip."""

CHECK_EVERY = 8
"""Steps between two looks at a row: a loop goes on for some steps more, and healthy speech pays nothing."""


@dataclass(frozen=True, slots=True)
class RowLimits:
    """How many tokens a row may write in all, and how many in one repetition."""

    tokens: int
    repetition: int

    def are_reached(self, tokens: Sequence[int], *, end: int) -> bool:
        """Tell whether a row has to stop: it is full, or says the same over and over.

        Timestamps, whose ids are above end-of-text, advance while the words repeat themselves.
        """
        if len(tokens) >= self.tokens:
            return True
        if len(tokens) % CHECK_EVERY:
            return False
        return repeats_itself([token for token in tokens if token < end], longest=self.repetition)


@dataclass(frozen=True, slots=True)
class Found:
    """What was written for a row, without end-of-text; `ended` where the model ended it by itself.

    `mean_log_probability` is of the tokens and of the end, among those that may be written; None where the
    search does not tell.
    """

    tokens: list[int]
    ended: bool
    mean_log_probability: float | None = None


def longest_repetition(duration_s: float) -> int:
    """Return the number of tokens that real repetition in so many seconds does not reach.

    Example:
        >>> longest_repetition(3.0), longest_repetition(30.0)
        (40, 256)
    """
    return REPEATED_TOKENS_OFFSET + math.ceil(REPEATED_TOKENS_PER_SECOND * duration_s)


def repeats_itself(tokens: Sequence[int], *, longest: int) -> bool:
    """Tell whether the last `longest` tokens are one sequence, said at least `REPETITIONS` times in a row.

    So a loop has to fill more time than the clip has, and "no, no, no, no" or a chorus does not.

    Example:
        >>> repeats_itself([5, 6, *[7, 8, 9] * 6], longest=18)
        True
        >>> repeats_itself([5, 6, *[7, 8, 9] * 5], longest=18)
        False
    """
    tail = tokens[-longest:]
    if len(tail) < longest:
        return False
    periods = range(1, longest // REPETITIONS + 1)
    return any(tail[period:] == tail[:-period] for period in periods)
