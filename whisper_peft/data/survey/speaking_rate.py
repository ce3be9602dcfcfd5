"""How fast a row would have been spoken if its text were right, and which rows nobody can have spoken so.

Two tests. Bounds that hold for any speaker: languages are spoken at 4 to 9 syllables a second (Coupe et al.,
Science Advances, 2019), about 2.5 letters each, so that over 35 letters a second is no speech and under one
is mostly something else. And the corpus itself: how far the rate is from those of texts in its script and of
about its length (`whisper_peft.data.survey.outliers`), since short ones have more silence beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisper_peft.data.text.scripts import SYLLABIC

LETTERS_PER_SECOND = (1.0, 35.0)
"""Bounds for alphabets."""

SIGNS_PER_SECOND = (0.4, 15.0)
"""Bounds for scripts with a sign for each syllable or more."""

LONGEST_WITHOUT_LOWER_BOUND_S = 2.0
"""A clip of a single word may be mostly silence."""


@dataclass(frozen=True, slots=True)
class RateBounds:
    """Slowest and fastest possible rate of a script, in signs per second."""

    slowest: float
    fastest: float

    def broken_by(self, rate: float, duration_s: float) -> str | None:
        """Say how a rate is impossible; None where it is possible.

        Example:
            >>> rate_bounds("LATIN").broken_by(50.0, 3.0)
            '50 letters a second; at most 35 can be spoken'
        """
        if rate > self.fastest:
            return f"{rate:.0f} letters a second; at most {self.fastest:.0f} can be spoken"
        if rate < self.slowest and duration_s > LONGEST_WITHOUT_LOWER_BOUND_S:
            return f"{rate:.1f} letters a second; at least {self.slowest:g} are"
        return None


def rate_bounds(script: str | None) -> RateBounds:
    """Return the bounds of a script."""
    return RateBounds(*(SIGNS_PER_SECOND if script in SYLLABIC else LETTERS_PER_SECOND))


def letters(text: str) -> int:
    """Return how many signs of a text are spoken: letters and digits, a digit as a word of four letters.

    Example:
        >>> letters("It's 7 p.m.!")
        9
    """
    return sum(4 if sign.isdigit() else sign.isalnum() for sign in text)
