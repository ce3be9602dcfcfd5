"""The speech of a run as far as a plan looks at it: rows with their lengths, and no recording decoded."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from whisper_peft.data.checking import check_row
from whisper_peft.data.sources import Source, open_split
from whisper_peft.data.splits import Role
from whisper_peft.errors import DataError, WhisperPeftError
from whisper_peft.evaluation.evaluator import draw_evenly
from whisper_peft.recipe.sections import Recipe
from whisper_peft.training.planner import Material
from whisper_peft.training.workload import PREFIX_TOKENS, text_tokens
from whisper_peft.types import Utterance

LOOKED_AT = 2000
"""Rows of a local source whose headers are read, spread evenly; a smaller source is planned to the row."""

STREAMED = 200
"""First rows of a stream that are read for their lengths."""

ASSUMED = Utterance("assumed", b"", "word " * 33, duration_s=12.3)
"""What stands for speech that cannot be opened: an utterance as LibriSpeech has them."""


@dataclass(frozen=True)
class Looked:
    """What was found.

    Attributes:
        material: The rows.
        sentences: What was opened, a line for each split.
        problems: What would stop a run.
        notes: What was assumed.
    """

    material: Material
    sentences: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def look_at_speech(recipe: Recipe, *, check_language: Callable[[Utterance], object]) -> Looked:
    """Open both splits and read the headers of their rows, or of a sample of them.

    Args:
        recipe: Whose speech it is.
        check_language: Raises for a row whose language the model cannot be told.
    """
    looking = _Looking(recipe, check_language)
    train, train_count = looking.at("train")
    scored, scored_count = looking.at("eval")
    if recipe.data.mix:
        looking.notes.append("of mixed sources, only the main one was looked at")
    return Looked(
        Material(train, scored, train_count, scored_count),
        tuple(looking.sentences),
        tuple(looking.problems),
        tuple(looking.notes),
    )


class _Looking:
    def __init__(self, recipe: Recipe, check_language: Callable[[Utterance], object]) -> None:
        self.recipe, self.check_language = recipe, check_language
        self.sentences: list[str] = []
        self.problems: list[str] = []
        self.notes: list[str] = []

    def at(self, role: Role) -> tuple[list[Utterance], int | None]:
        """Return rows of a split and how many usable ones there are; assumed rows where there are none."""
        try:
            source = open_split(self.recipe.data, role)
            rows, count, seen = self._rows(source)
            return self._usable(source, rows, count, seen)
        except WhisperPeftError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            self.notes.append(f"data.{role}: utterances of 12 s were assumed, as LibriSpeech has them")
            return [ASSUMED] * 500, None

    def _rows(self, source: Source) -> tuple[list[Utterance], int | None, int]:
        self.sentences.append(source.sentence)
        if source.is_stream:
            rows = list(itertools.islice(source, STREAMED))
            self.notes.append(f"{source.name} is a stream: its first {len(rows)} rows stand for all")
            return rows, None, len(rows)
        rows = list(draw_evenly(source, LOOKED_AT))
        count = source.count
        if count is not None and count > len(rows):
            self.notes.append(f"{source.name}: the headers of {len(rows)} of {count} rows were read")
        return rows, count, len(rows)

    def _usable(
        self, source: Source, rows: Iterable[Utterance], count: int | None, seen: int
    ) -> tuple[list[Utterance], int | None]:
        kept, refused = [], Counter[str]()
        for row in rows:
            checked, reason = check_row(row, section=self.recipe.data, label_length=_label_length)
            if reason is None:
                self.check_language(checked)
                kept.append(checked)
            else:
                refused[reason] += 1
        if not kept:
            raise DataError(f"no row of {source.name} can be used", _counted(refused), "mend data.source")
        if refused:
            self.sentences.append(
                f"{source.name}: {seen - len(kept)} of {seen} left out, {_counted(refused)}"
            )
        return kept, None if count is None else round(count * len(kept) / seen)


def _label_length(row: Utterance) -> int:
    return text_tokens(row.text) + PREFIX_TOKENS


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items())) or "there are none"
