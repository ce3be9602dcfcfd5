"""The sources beside the main one: opened with it, checked as it is, and how much of an epoch each takes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TypeAlias

from whisper_peft.data.batches.mixing import Ingredient
from whisper_peft.data.batches.mixing_shares import mixing_shares
from whisper_peft.data.checking import RowCheck
from whisper_peft.data.sources.mixed_sources import NamedSource, open_mixed
from whisper_peft.data.sources.opening import Source
from whisper_peft.data.sources.source_names import mixed_names
from whisper_peft.data.text.text_style import (
    CASE_SENTENCES,
    LearnedCase,
    TextStyle,
    choose_text_case,
    text_style,
)
from whisper_peft.recipe.sections import DataSection, MixedSource, Recipe
from whisper_peft.reporting.figures import percent
from whisper_peft.reporting.run_report import MixedRecord
from whisper_peft.types import Utterance

STYLE_SAMPLE = 100
"""Transcripts that are looked at to tell how a corpus writes."""


def hears_streams(recipe: Recipe) -> bool:
    """Tell whether the untuned model can listen to a stream while a run goes on: one process, an adapter."""
    return recipe.adapter.method != "full" and int(os.environ.get("WORLD_SIZE", "1")) == 1


@dataclass(frozen=True)
class MixedSpeech:
    """The splits of a source beside the main one, opened.

    Attributes:
        mixed: The source, as the recipe has it.
        name: Its name in the mixture.
        train: Its rows to learn from; None where it is only scored.
        eval: Its rows to score; None where they are not.
        hears_streams: Whether the untuned model can listen to a stream while the run goes on.
    """

    mixed: MixedSource
    name: str
    train: NamedSource | None
    eval: NamedSource | None
    hears_streams: bool = True

    @cached_property
    def text_style(self) -> TextStyle:
        """How its first transcripts are written."""
        return text_style(row.text for row in itertools.islice(self.train or self.eval or (), STYLE_SAMPLE))

    @property
    def text_case(self) -> LearnedCase:
        """The case that its training text is put in."""
        can_be_heard = self.hears_streams or self.train is None or not self.train.is_stream
        return choose_text_case(self.mixed.text_case, self.text_style, can_be_heard=can_be_heard)

    def sentences(self) -> Iterator[str]:
        """Yield what was opened, a line for each split, and how its text is learned."""
        yield from (source.sentence for source in (self.train, self.eval) if source is not None)
        if self.train is not None:
            learned = CASE_SENTENCES[self.text_case]
            yield f"{self.name}: the text is in {self.text_style}; it is learned {learned}"

    def resolved(self) -> MixedSource:
        """Return the source as it opens again, with what was found in its speech."""
        found = {
            "name": self.name,
            "train": self.train.split if self.train else None,
            "eval": self.eval.split if self.eval else None,
            "text_case": self.text_case,
        }
        return self.mixed.model_copy(update=found)


def open_mixed_speech(section: DataSection, *, hears_streams: bool = True) -> tuple[MixedSpeech, ...]:
    """Open the sources of `data.mix`.

    Args:
        section: The main source, with the others in `mix`.
        hears_streams: Whether the untuned model can listen to a stream while the run goes on.

    Raises:
        RecipeError: If two sources were given one name.
        DataError: If a source or a split is missing.
    """
    names = mixed_names(section.mix)
    return tuple(
        MixedSpeech(
            mixed,
            names[place],
            None if mixed.train is None else open_mixed(section, place, "train"),
            None if mixed.eval is None else open_mixed(section, place, "eval"),
            hears_streams,
        )
        for place, mixed in enumerate(section.mix)
    )


def open_mixed_evals(section: DataSection) -> tuple[NamedSource, ...]:
    """Open what is scored of the sources of `data.mix`.

    Raises:
        RecipeError: If two sources were given one name.
        DataError: If a source or a split is missing.
    """
    places = [place for place, mixed in enumerate(section.mix) if mixed.eval is not None]
    return tuple(open_mixed(section, place, "eval") for place in places)


@dataclass(frozen=True)
class MixedRows:
    """What there is to learn from beside the main source, and how much of an epoch it takes.

    Attributes:
        speech: The source.
        utterances: Its rows: a sequence, or a stream that checks each row as it passes.
        check: What was counted before training; None for a stream.
        share: Share of the rows of an epoch.
        rate: Rows for each row of the main source.
    """

    speech: MixedSpeech
    utterances: Sequence[Utterance] | Iterable[Utterance]
    check: RowCheck | None
    share: Fraction
    rate: Fraction

    def sentence(self) -> str:
        """Say in one line how much of the source is heard."""
        kept = f": {self.check.sentence()}" if self.check else ", checked as it passes"
        return f"{self.speech.name}: {percent(float(self.share), digits=1)} of the rows of an epoch{kept}"

    def ingredient(self) -> Ingredient:
        """Return what the mixture takes."""
        return Ingredient(self.speech.name, self.utterances, self.rate)


def mixed_records(mixed: Sequence[MixedSpeech], learned: Sequence[MixedRows]) -> tuple[MixedRecord, ...]:
    """Return the report's block of each source, those that are only scored included."""
    rows_of = {rows.speech.name: rows for rows in learned}
    return tuple(_record(one, rows_of.get(one.name)) for one in mixed)


def _record(speech: MixedSpeech, rows: MixedRows | None) -> MixedRecord:
    check = rows.check if rows else None
    return MixedRecord(
        name=speech.name,
        source=str(speech.mixed.source),
        train_split=speech.train.split if speech.train else None,
        eval_split=speech.eval.split if speech.eval else None,
        language=speech.mixed.language,
        share=float(rows.share) if rows else 0.0,
        hours=check.hours if check else None,
        utterances=len(check.kept) if check else None,
        skipped=dict(check.skipped) if check else {},
        text_style=str(speech.text_style),
        text_case=speech.text_case if rows else None,
    )


CheckedRows: TypeAlias = tuple[Sequence[Utterance] | Iterable[Utterance], RowCheck | None]
"""The rows of a source that can be learned from, and what was counted; nothing of a stream yet."""


def check_mixed(
    section: DataSection,
    mixed: Sequence[MixedSpeech],
    main_rows: int | None,
    rows_of: Callable[[Source], CheckedRows],
) -> tuple[MixedRows, ...]:
    """Look through the sources beside the main one, and tell their shares.

    Args:
        section: The main source, with the others in `mix`.
        mixed: The others, opened.
        main_rows: Rows of the main source; None for a stream.
        rows_of: Looks through the rows of a source.

    Raises:
        DataError: If none of a source's rows can be used.
        RecipeError: If shares go by the rows of a stream.
    """
    checked = [(one, *rows_of(one.train)) for one in mixed if one.train is not None]
    counts = [len(check.kept) if check else None for _, _, check in checked]
    main, *shares = mixing_shares(section, [main_rows, *counts])
    return tuple(
        MixedRows(one, rows, check, share, share / main)
        for (one, rows, check), share in zip(checked, shares, strict=True)
    )
