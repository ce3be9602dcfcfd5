"""Whether a tuned model writes otherwise than before: casing and punctuation that the WER does not see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from whisper_peft.reporting.figures import per_hundred, whole_percent
from whisper_peft.reporting.run_report import EvaluationRecord
from whisper_peft.types import StyleProfile

LARGE_CHANGE_OF_SHARE = 0.2
"""A fifth of all words or transcripts: nobody needs statistics to notice that."""

LARGE_FACTOR = 3.0
LEAST_PER_100_WORDS = 1.0
"""Commas or digits have come or gone when there are three times as many or few, and any to speak of."""


LEAST_UTTERANCES = 20
"""Of fewer transcripts a share says too little."""


@dataclass(frozen=True, slots=True)
class StyleMeasure:
    """One number of a style: its title in a table, how it is printed, and what a sentence says of it."""

    title: str
    printed: Callable[[float], str]
    told: str
    is_share: bool = True

    def moved(self, before: float, after: float) -> bool:
        """Tell whether the change is large."""
        if self.is_share:
            return abs(after - before) >= LARGE_CHANGE_OF_SHARE
        low, high = sorted((before, after))
        return high >= LEAST_PER_100_WORDS and high > LARGE_FACTOR * low


STYLE_MEASURES = {
    "ends_in_mark": StyleMeasure(
        "Transcripts that end in . ? !", whole_percent, "of transcripts end in . ? !"
    ),
    "starts_with_capital": StyleMeasure(
        "Transcripts that start with a capital", whole_percent, "of transcripts start with a capital"
    ),
    "capitalised_words": StyleMeasure("Words with a capital", whole_percent, "of words have a capital"),
    "all_caps_words": StyleMeasure("Words in CAPITALS", whole_percent, "of words are in CAPITALS"),
    "commas_per_100_words": StyleMeasure(
        "Commas in 100 words", per_hundred, "commas in 100 words", is_share=False
    ),
    "digits_per_100_words": StyleMeasure(
        "Digits in 100 words", per_hundred, "digits in 100 words", is_share=False
    ),
}
"""The fields of a style profile, in the order of a report."""


def style_drift(evaluation: EvaluationRecord | None) -> str | None:
    """Say what the tuned model writes otherwise; None where little moved or not both were measured."""
    before = evaluation.before if evaluation else None
    after = evaluation.after if evaluation else None
    if not (before and after and before.style and after.style) or after.utterances < LEAST_UTTERANCES:
        return None
    changes = _changes(before.style, after.style)
    return f"The tuned model writes otherwise: {'; '.join(changes)}." if changes else None


def _changes(before: StyleProfile, after: StyleProfile) -> list[str]:
    found = []
    for field, measure in STYLE_MEASURES.items():
        then, now = getattr(before, field), getattr(after, field)
        if measure.moved(then, now):
            found.append(f"{measure.printed(then)} to {measure.printed(now)} {measure.told}")
    return found
