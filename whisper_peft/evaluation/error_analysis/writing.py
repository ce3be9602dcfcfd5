"""Case and punctuation apart: what normalisers hide, where the words are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import regex

from whisper_peft.evaluation.error_analysis.alignment import align_units
from whisper_peft.evaluation.error_analysis.groups import Groups
from whisper_peft.evaluation.error_analysis.rates import Tally
from whisper_peft.types import Prediction

WORD = regex.compile(r"[\p{L}\p{N}][\p{L}\p{M}\p{N}]*(?:['’-][\p{L}\p{N}][\p{L}\p{M}\p{N}]*)*")

MARKS = {
    "。": ".",
    "．": ".",
    "…": ".",
    "，": ",",
    "、": ",",
    "？": "?",
    "！": "!",
    "؟": "?",
    "،": ",",
    "؛": ";",
}
"""Marks that stand for the same in another script."""

SENTENCE_MARKS = frozenset(".,;:?!")

LEAST_SHARE = 0.02
"""Where fewer references than this have any, capitals or marks are slips and not how the corpus writes."""


@dataclass(frozen=True, slots=True)
class WrittenWord:
    """A word as it is written, and the mark that follows it, if any."""

    text: str
    mark: str


def written_words(text: str) -> tuple[WrittenWord, ...]:
    """Cut a text into its words, with the marks between them.

    Example:
        >>> [(word.text, word.mark) for word in written_words("Well, it's 5 p.m.!")]
        [('Well', ','), ("it's", ''), ('5', ''), ('p', '.'), ('m', '.')]
    """
    found = list(WORD.finditer(text))
    return tuple(
        WrittenWord(match.group(), _first_mark(text[match.end() : following.start() if following else None]))
        for match, following in zip_longest(found, found[1:])
    )


def has_case(references: Sequence[str]) -> bool:
    """Tell whether references have both cases, so that capitals say something.

    Example:
        >>> has_case(["Hello Ann.", "yes"]), has_case(["HELLO"]), has_case(["hello"])
        (True, False, False)
    """
    mixed = sum(any(map(str.isupper, text)) and any(map(str.islower, text)) for text in references)
    return mixed > LEAST_SHARE * len(references)


def has_marks(references: Sequence[str]) -> bool:
    """Tell whether references are punctuated."""
    marked = sum(any(word.mark for word in written_words(text)) for text in references)
    return marked > LEAST_SHARE * len(references)


def by_writing(predictions: Mapping[str, Sequence[Prediction]], *, case: bool, marks: bool) -> Groups:
    """Yield wrong case, and marks that are missing or added, where references tell what is right.

    Only words that are right but for their case are looked at, and the marks behind them.
    """
    pairs = {when: _right_words(rows) for when, rows in predictions.items()}
    if case:
        yield "wrong case", {when: Tally.of(map(_case, rows)) for when, rows in pairs.items()}
    if marks:
        yield "marks missing or wrong", {when: Tally.of(map(_missing, rows)) for when, rows in pairs.items()}
        yield "marks added", {when: Tally.of(map(_added, rows)) for when, rows in pairs.items()}


def _right_words(predictions: Sequence[Prediction]) -> list[list[tuple[WrittenWord, WrittenWord]]]:
    """Return for each utterance the words that both sides have, side by side."""
    said = [written_words(one.reference) for one in predictions]
    written = [written_words(one.hypothesis) for one in predictions]
    aligned = align_units(
        *([[word.text.casefold() for word in row] for row in side] for side in (said, written))
    )
    found = []
    for references, hypotheses, steps in zip(said, written, aligned, strict=True):
        left, right = iter(references), iter(hypotheses)
        pairs = []
        for step in steps:
            reference = next(left) if step.kind != "insert" else None
            hypothesis = next(right) if step.kind != "delete" else None
            if step.kind == "equal" and reference and hypothesis:
                pairs.append((reference, hypothesis))
        found.append(pairs)
    return found


def _case(pairs: Sequence[tuple[WrittenWord, WrittenWord]]) -> tuple[int, int]:
    cased = [(a, b) for a, b in pairs if a.text.lower() != a.text.upper()]
    return sum(a.text != b.text for a, b in cased), len(cased)


def _missing(pairs: Sequence[tuple[WrittenWord, WrittenWord]]) -> tuple[int, int]:
    marked = [(a, b) for a, b in pairs if a.mark]
    return sum(a.mark != b.mark for a, b in marked), len(marked)


def _added(pairs: Sequence[tuple[WrittenWord, WrittenWord]]) -> tuple[int, int]:
    marked = [(a, b) for a, b in pairs if b.mark]
    return sum(not a.mark for a, b in marked), len(marked)


def _first_mark(between: str) -> str:
    marks = (MARKS.get(sign, sign) for sign in between)
    return next((mark for mark in marks if mark in SENTENCE_MARKS), "")
