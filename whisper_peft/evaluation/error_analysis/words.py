"""Errors by what a word is: rare in the training text, a name, a number; where it stands in the window.

Words that were added belong to no word of the reference: shares are of words that were not written as said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import regex

from whisper_peft.evaluation.error_analysis.alignment import AlignedWord
from whisper_peft.evaluation.error_analysis.groups import Groups
from whisper_peft.evaluation.error_analysis.number_words import is_number
from whisper_peft.evaluation.error_analysis.rates import Tally
from whisper_peft.types import WINDOW_S, Prediction

RARITIES = {"never": (0, 0), "once or twice": (1, 2), "3 to 9 times": (3, 9), "10 times or more": (10, None)}
"""How often a word stands in the training text: the first is out of its vocabulary."""

PLACE_S = 5.0
"""Seconds of a group of places in the window."""

CAPITALISES_NOUNS = frozenset({"de", "lb"})
"""Languages in which a capital says noun, not name."""

NAMES = "names"
"""The kind of word that is a name."""

NAME = regex.compile(r"(?<=[\p{L}\p{M}\p{N},;:’'] )\p{Lu}[\p{L}\p{M}][\p{L}\p{M}'’-]*")
"""A word of two letters or more with a capital that no sentence begins with."""


@dataclass(frozen=True, slots=True)
class AlignedUtterance:
    """A scored utterance with its words, as they are scored."""

    prediction: Prediction
    words: tuple[AlignedWord, ...]

    @property
    def reference(self) -> Iterator[AlignedWord]:
        """The words of the reference, each with what was written instead."""
        return (word for word in self.words if word.kind != "insert")


Aligned: TypeAlias = Mapping[str, Sequence[AlignedUtterance]]
"""The same utterances, aligned `before`, `after` or both."""

Marks: TypeAlias = Callable[[AlignedUtterance], Sequence[bool]]
"""Tells of each word of a reference whether it is of a kind."""


def tallied(aligned: Aligned, marks: Marks) -> Mapping[str, Tally]:
    """Return how many words of a kind there are in each utterance, and how many were not written as said."""

    def counted(one: AlignedUtterance) -> tuple[int, int]:
        chosen = [word for word, is_one in zip(one.reference, marks(one), strict=True) if is_one]
        return sum(word.kind != "equal" for word in chosen), len(chosen)

    return {when: Tally.of(map(counted, rows)) for when, rows in aligned.items()}


def by_rarity(aligned: Aligned, training_words: Mapping[str, int]) -> Groups:
    """Yield the words that are no numbers by how often they stand in the training text."""
    for name, (low, high) in RARITIES.items():

        def marks(one: AlignedUtterance, low: int = low, high: int | None = high) -> list[bool]:
            counts = [training_words.get(word.reference, 0) for word in one.reference]
            numbers = number_marks(one)
            return [
                low <= count and (high is None or count <= high) and not number
                for count, number in zip(counts, numbers, strict=True)
            ]

        yield name, tallied(aligned, marks)


def by_kind(aligned: Aligned, normalize: Callable[[str], str], *, has_case: bool) -> Groups:
    """Yield numbers, names where capitals tell them, and all other words."""
    names = {
        one.prediction.reference: frozenset(names_in(one.prediction, normalize)) if has_case else frozenset()
        for one in next(iter(aligned.values()))
    }

    def name_marks(one: AlignedUtterance) -> list[bool]:
        own = names[one.prediction.reference]
        return [word.reference in own for word in one.reference]

    def other_marks(one: AlignedUtterance) -> list[bool]:
        return [not (a or b) for a, b in zip(name_marks(one), number_marks(one), strict=True)]

    if has_case:
        yield NAMES, tallied(aligned, name_marks)
    yield "numbers", tallied(aligned, number_marks)
    yield "other words", tallied(aligned, other_marks)


def number_marks(one: AlignedUtterance) -> list[bool]:
    """Tell of each word of a reference whether it is a number."""
    return [is_number(word.reference, one.prediction.language) for word in one.reference]


def names_in(prediction: Prediction, normalize: Callable[[str], str]) -> Iterator[str]:
    """Yield the names of a reference as they are scored: capitalised inside a sentence.

    Example:
        >>> row = Prediction("a", "Then Mary's friend, I think, saw NATO.", "", 1.0, 0.0, 0, 0, 0, 0)
        >>> list(names_in(row, str.lower))
        ["mary's", 'nato']
    """
    if prediction.language in CAPITALISES_NOUNS or prediction.reference.isupper():
        return
    for name in NAME.findall(prediction.reference):
        if words := normalize(name).split():
            yield words[0]


def by_position(aligned: Aligned) -> Groups:
    """Yield words by where they lie in the window, as if an utterance's words were spread evenly over it.

    What was added counts where the next word of the reference lies.
    """
    for first in range(0, int(WINDOW_S), int(PLACE_S)):
        last = first + int(PLACE_S)
        counted = {
            when: Tally.of(_errors_between(one, first, last) for one in rows)
            for when, rows in aligned.items()
        }
        yield f"{first} to {last} s", counted


def _errors_between(one: AlignedUtterance, first: float, last: float) -> tuple[int, int]:
    total = sum(1 for _ in one.reference)
    second_of = one.prediction.duration_s / max(total, 1)
    errors = units = place = 0
    for word in one.words:
        if first <= min(place + 0.5, max(total - 0.5, 0.0)) * second_of < last:
            errors += word.kind != "equal"
            units += word.kind != "insert"
        place += word.kind != "insert"
    return errors, units
