"""How a corpus writes: capitals throughout teach a model to forget casing, so they are noticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

LARGE_SHARE = 0.9
"""A corpus is written in one way when at least this share of its transcripts is."""

SENTENCE_MARKS = frozenset(".,?!;:…。，？！、；：।؟،")
"""Marks of punctuation in the scripts that have any; apostrophes and hyphens belong to words."""

Case: TypeAlias = Literal["capitals", "lower case", "mixed case", "no case"]
LearnedCase: TypeAlias = Literal["as-is", "lower", "sentence", "restore"]
TextCase: TypeAlias = Literal["auto", LearnedCase]

CASE_SENTENCES: dict[LearnedCase, str] = {
    "as-is": "as it is",
    "lower": "in lower case",
    "sentence": "in sentence case",
    "restore": "as the untuned model writes it, where the words agree",
}
"""How text is learned, after the word `learned`."""


@dataclass(frozen=True, slots=True)
class TextStyle:
    """Case and punctuation of a corpus."""

    case: Case
    punctuated: bool

    def __str__(self) -> str:
        return f"{self.case}, {'with' if self.punctuated else 'without'} punctuation"


def text_style(texts: Iterable[str]) -> TextStyle:
    """Return how transcripts are written.

    Example:
        >>> print(text_style(["NORTHANGER ABBEY", "THIS LITTLE WORK WAS FINISHED"]))
        capitals, without punctuation
    """
    cases: Counter[Case] = Counter()
    punctuated = 0
    for text in texts:
        cases[_case_of(text)] += 1
        punctuated += not SENTENCE_MARKS.isdisjoint(text)
    (case, most), *_ = cases.most_common(1) or [("no case", 0)]
    consistent = most >= LARGE_SHARE * cases.total()
    return TextStyle(case if consistent else "mixed case", punctuated > cases.total() / 2)


def _case_of(text: str) -> Case:
    if text.lower() == text.upper():
        return "no case"
    return "capitals" if text.isupper() else "lower case" if text.islower() else "mixed case"


def choose_text_case(asked: TextCase, style: TextStyle, *, can_be_heard: bool = True) -> LearnedCase:
    """Return the case to train in: the asked one; auto restores capitals, and leaves other text as it is.

    Args:
        asked: What the recipe says.
        style: How the corpus writes.
        can_be_heard: Whether the untuned model can listen to it first; else capitals become sentence case.

    Example:
        >>> choose_text_case("auto", text_style(["NORTHANGER ABBEY"]))
        'restore'
    """
    if asked != "auto":
        return asked
    if style.case != "capitals":
        return "as-is"
    return "restore" if can_be_heard else "sentence"
