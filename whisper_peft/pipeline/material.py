"""The speech of a run as far as a plan looks at it: rows with their lengths, and no recording decoded."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from whisper_peft.data.batches.mixing_shares import mixing_shares
from whisper_peft.data.checking import check_row
from whisper_peft.data.sources.mixed_sources import open_mixed
from whisper_peft.data.sources.opening import Source, open_split
from whisper_peft.data.sources.source_names import mixed_names
from whisper_peft.data.splits import Role
from whisper_peft.data.text.text_style import choose_text_case, text_style
from whisper_peft.errors import DataError, WhisperPeftError
from whisper_peft.evaluation.evaluator import draw_evenly
from whisper_peft.pipeline.runs.mixed_speech import STYLE_SAMPLE, hears_streams
from whisper_peft.recipe.sections import Recipe
from whisper_peft.training.planning.material import Material, Replayed, Rows
from whisper_peft.training.planning.workload import PREFIX_TOKENS, text_tokens
from whisper_peft.types import Utterance

T = TypeVar("T")

ROLES: tuple[Role, ...] = ("train", "eval")

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
    train, scored = (looking.at(role) for role in ROLES)
    beside, scored_too = looking.at_mixed("train"), looking.at_mixed("eval")
    return Looked(
        Material(
            train,
            scored,
            looking.replayed(train, beside),
            scored_too,
            looking.restored(train, beside),
        ),
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

    def at(self, role: Role) -> Rows:
        """Return the usable rows of the main source's split; assumed ones where there are none."""
        found = self._tried(lambda: self._usable(open_split(self.recipe.data, role)))
        if found is not None:
            return found
        self.notes.append(f"data.{role}: utterances of 12 s were assumed, as LibriSpeech has them")
        return Rows([ASSUMED] * 500, None)

    def at_mixed(self, role: Role) -> dict[str, Rows]:
        """Return the usable rows of each source beside the main one, by its name."""
        data = self.recipe.data
        names = self._tried(lambda: mixed_names(data.mix)) or ()
        found: dict[str, Rows] = {}
        for place, name in enumerate(names):
            if getattr(data.mix[place], role) is None:
                continue
            rows = self._tried(partial(self._usable_mixed, place, role))
            if rows is not None:
                found[name] = rows
        return found

    def replayed(self, main: Rows, beside: Mapping[str, Rows]) -> dict[str, Replayed]:
        """Return what is learned beside the main source, and how much of it; nothing if a part is missing."""
        learned = [one for one in self.recipe.data.mix if one.train is not None]
        if len(learned) != len(beside):
            return {}
        counts = [main.count, *(rows.count for rows in beside.values())]
        shares = self._tried(lambda: mixing_shares(self.recipe.data, counts))
        if shares is None:
            return {}
        pairs = zip(beside.items(), shares[1:], strict=True)
        return {name: Replayed(rows, share / shares[0]) for (name, rows), share in pairs}

    def restored(self, main: Rows, beside: Mapping[str, Rows]) -> frozenset[str | None]:
        """Return the sources whose text is restored, by their names; None is the main one."""
        learned: dict[str | None, Rows] = {None: main}
        learned.update(beside)
        data, hears = self.recipe.data, hears_streams(self.recipe)
        names = (None, *(self._tried(lambda: mixed_names(data.mix)) or ()))
        asked = {name: one.text_case for name, one in zip(names, (data, *data.mix), strict=False)}
        styles = {
            name: text_style(row.text for row in rows.seen[:STYLE_SAMPLE]) for name, rows in learned.items()
        }
        return frozenset(
            name
            for name, rows in learned.items()
            if choose_text_case(asked[name], styles[name], can_be_heard=hears or rows.count is not None)
            == "restore"
        )

    def _tried(self, action: Callable[[], T]) -> T | None:
        try:
            return action()
        except WhisperPeftError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return None

    def _usable_mixed(self, place: int, role: Role) -> Rows:
        return self._usable(open_mixed(self.recipe.data, place, role))

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

    def _usable(self, source: Source) -> Rows:
        rows, count, seen = self._rows(source)
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
        return Rows(kept, None if count is None else round(count * len(kept) / seen))


def _label_length(row: Utterance) -> int:
    return text_tokens(row.text) + PREFIX_TOKENS


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items())) or "there are none"
