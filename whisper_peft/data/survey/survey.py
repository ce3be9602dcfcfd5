"""A look through the splits of a corpus, row by row, in bounded memory however many rows there are."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from whisper_peft.data.splits import is_for_scoring, is_for_training
from whisper_peft.data.survey.contents import FirstPlace
from whisper_peft.data.survey.findings import (
    ACTIONS,
    LabelFigures,
    Leak,
    Reason,
    SplitFigures,
    Suspect,
)
from whisper_peft.data.survey.likeness import UNLIKE, sentence_likeness
from whisper_peft.data.survey.outliers import OutlierSearch
from whisper_peft.data.survey.recording_survey import RecordingSurvey
from whisper_peft.data.survey.row_facts import RowFacts
from whisper_peft.data.survey.sketches import Sketch
from whisper_peft.data.survey.speaking_rate import letters, rate_bounds
from whisper_peft.data.survey.transcript_survey import TranscriptSurvey, sentence_digest, spoken_words
from whisper_peft.data.text.scripts import main_script
from whisper_peft.types import MAX_LABEL_TOKENS

MOST_LISTED = 500
"""Rows that are listed for each reason; all are counted."""


@dataclass(frozen=True, slots=True)
class SurveyedSplit:
    """A split whose rows are looked at.

    Attributes:
        name: Its name in its source.
        is_scored: Whether its rows are to be scored.
        source: Name of a source that is mixed in; None of the main one.
    """

    name: str
    is_scored: bool
    source: str | None = None

    @classmethod
    def named(cls, name: str, source: str | None = None) -> SurveyedSplit:
        """Return a split that is scored if its name says so.

        Example:
            >>> SurveyedSplit.named("test", "old").label, SurveyedSplit.named("test").is_scored
            ('old/test', True)
        """
        return cls(name, is_for_scoring(name) and not is_for_training(name), source)

    @property
    def label(self) -> str:
        """Its name among the splits of all sources."""
        return self.name if self.source is None else f"{self.source}/{self.name}"


@dataclass
class _SplitTally:
    rows: int = 0
    usable: int = 0
    seconds: float = 0.0
    speakers: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)


@dataclass
class Survey:
    """Gathers what the rows of a source tell, alone and beside each other.

    Those of several sources share the splits, and the indices of their `transcripts` and `recordings`: so
    each knows what also lies in the others.

    Args:
        splits: Those of all sources, the scored ones first: so it is the training row that is named where
            both have a recording. A score is only comparable while its split stays whole.
        label_length: Decoder positions that a row's text takes; None where no model is named.
        source: Name of the source, as its splits have it.
    """

    splits: Sequence[SurveyedSplit]
    label_length: Callable[[RowFacts], int] | None = None
    source: str | None = None
    refused: Counter[str] = field(default_factory=Counter)
    concerns: Counter[str] = field(default_factory=Counter)
    transcripts: TranscriptSurvey = field(default_factory=TranscriptSurvey)
    recordings: RecordingSurvey = field(default_factory=RecordingSurvey)
    _tokens: Sketch = field(default_factory=lambda: Sketch(1.0))
    _rates: OutlierSearch[RowFacts] = field(default_factory=OutlierSearch)
    _listed: dict[tuple[int, str], tuple[RowFacts, list[Reason]]] = field(default_factory=dict)
    _listed_by_reason: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._tallies = [_SplitTally() for _ in self.splits]

    @property
    def rows(self) -> int:
        """Rows that were looked at."""
        return sum(tally.rows for tally in self._tallies)

    def add(self, row: RowFacts) -> None:
        """Take in a row."""
        self._tallies[row.split].rows += 1
        self.recordings.add_header(row)
        refusal = row.refusal or self._too_many_tokens(row)
        if refusal is not None:
            self.refused[refusal.name] += 1
            self._list(row, refusal)
            return
        self._add_usable(row)
        told = (
            self.transcripts.add(row),
            self._heard_before(row),
            self._read_before(row),
            self._rate(row),
            self.recordings.add(row),
        )
        for reason in itertools.chain(*told):
            self.name(row, reason)

    def compare(self, row: RowFacts) -> None:
        """Note the recording and the words of a row of another source, for what is shared with it."""
        self.transcripts.sentences.add(sentence_digest(row.text), row.id, row.split)
        self.recordings.contents.add(row.recording, row.id, row.split)
        self._find_alike_text(row)

    def finish(self) -> None:
        """Name the rows that only stand out beside all the others."""
        for row, reason in self.transcripts.others():
            self.name(row, reason)
        for one in self._rates.outliers():
            told = f"{one.value:.1f} letters a second, {one.z:+.1f} robust deviations from {one.usual}"
            self.name(one.row, Reason("unusual-rate", told))

    def name(self, row: RowFacts, reason: Reason) -> None:
        """Say why a row stands out; it is counted, and listed as far as there is room."""
        self.concerns[reason.name] += 1
        self._list(row, reason)

    def suspects(self) -> tuple[Suspect, ...]:
        """Return the rows that stand out, the gravest first."""
        order = list(ACTIONS)
        found = [self._suspect(row, reasons) for row, reasons in self._listed.values()]
        gravity = {name: place for place, name in enumerate(order)}
        return tuple(
            sorted(found, key=lambda one: min(gravity.get(reason.name, -1) for reason in one.reasons))
        )

    def split_figures(self) -> tuple[SplitFigures, ...]:
        """Return how much speech each split holds."""
        return tuple(
            SplitFigures(
                name=self.splits[split].name,
                rows=tally.rows,
                usable=tally.usable,
                hours=tally.seconds / 3600,
                speakers=len(tally.speakers) or None,
                languages=tuple(sorted(tally.languages)),
            )
            for split in self.own_splits
            for tally in [self._tallies[split]]
        )

    @property
    def own_splits(self) -> tuple[int, ...]:
        """Numbers of the splits of this source."""
        return tuple(number for number, split in enumerate(self.splits) if split.source == self.source)

    def label_figures(self, model: str) -> LabelFigures | None:
        """Return how long the labels are; None where no model told."""
        tokens = self._tokens.summary()
        return LabelFigures(model, tokens, self.refused["label-too-long"]) if tokens else None

    def leaks(self) -> tuple[Leak, ...]:
        """Return what scored splits share with those that come after them, of any source.

        Speakers are compared within a source: the same name in another one may be somebody else.
        """
        return tuple(
            leak
            for split in self.own_splits
            for other in range(split + 1, len(self.splits))
            if self.splits[split].is_scored
            for leak in self._shared(split, other)
        )

    def _shared(self, split: int, other: int) -> Iterator[Leak]:
        # speakers of other sources are counted by their own surveys
        mine, theirs = self._tallies[split], self._tallies[other]
        spoken = sum(count for speaker, count in mine.speakers.items() if speaker in theirs.speakers)
        shared: dict[Literal["audio", "sentence", "speaker"], int] = {
            "audio": self.recordings.contents.shared_rows(split, other),
            "sentence": self.transcripts.sentences.shared_rows(split, other),
            "speaker": spoken,
        }
        for by, rows in shared.items():
            if rows:
                names = self.splits[split].label, self.splits[other].label
                yield Leak(by, *names, rows, min(rows / max(mine.usable, 1), 1.0))

    def _too_many_tokens(self, row: RowFacts) -> Reason | None:
        if self.label_length is None:
            return None
        tokens = self.label_length(row)
        self._tokens.add(tokens)
        return Reason("label-too-long", f"{tokens} tokens") if tokens > MAX_LABEL_TOKENS else None

    def _add_usable(self, row: RowFacts) -> None:
        tally = self._tallies[row.split]
        tally.usable += 1
        if row.duration_s is not None:
            tally.seconds += row.duration_s
        if row.speaker_id is not None:
            tally.speakers[row.speaker_id] += 1
        if row.language is not None:
            tally.languages[row.language] += 1

    def _heard_before(self, row: RowFacts) -> Iterator[Reason]:
        words = sentence_digest(row.text)[:4]
        first = self.recordings.contents.add(row.recording, row.id, row.split, note=words)
        near = self._find_alike_sound(row)
        if first is None:
            if near is not None:
                yield Reason("nearly-same-audio", f"{near.row_id} in {self.splits[near.split].label}")
            return
        there = self.splits[first.split]
        same = f"the recording of {first.row_id} in {there.label}"
        if first.split != row.split and there.is_scored:
            yield Reason("leaked-audio", same)
        elif first.note == words:
            yield Reason("repeated-audio", same)
        if first.note != words:
            yield Reason("two-texts", f"{same}, which has another text")

    def _read_before(self, row: RowFacts) -> Iterator[Reason]:
        near = self._find_alike_text(row)
        if near is not None and near.split != row.split and self.splits[near.split].is_scored:
            yield Reason("nearly-scored-text", f"{near.row_id} in {self.splits[near.split].label}")

    def _find_alike_sound(self, row: RowFacts) -> FirstPlace | None:
        likeness = row.acoustics.likeness if row.acoustics else UNLIKE
        return self.recordings.alike.add(likeness, row.id, row.split)

    def _find_alike_text(self, row: RowFacts) -> FirstPlace | None:
        """Return the first row of nearly the same words; rows of the same are counted as a leak."""
        likeness = sentence_likeness(spoken_words(row.text))
        near = self.transcripts.alike.add(likeness, row.id, row.split)
        return near if near is not None and near.note != likeness.code else None

    def _rate(self, row: RowFacts) -> Iterator[Reason]:
        signs = letters(row.text)
        if not row.duration_s or not signs:
            return
        script, rate = main_script(row.text), signs / row.duration_s
        self.recordings.rates.add(rate)
        if (broken := rate_bounds(script).broken_by(rate, row.duration_s)) is not None:
            yield Reason("impossible-rate", broken)
        else:
            self._rates.add(row, rate, letters=signs, family=script)

    def _list(self, row: RowFacts, reason: Reason) -> None:
        if self._listed_by_reason[reason.name] < MOST_LISTED:
            self._listed_by_reason[reason.name] += 1
            self._listed.setdefault((row.split, row.id), (row, []))[1].append(reason)

    def _suspect(self, row: RowFacts, reasons: Sequence[Reason]) -> Suspect:
        return Suspect(
            id=row.id,
            split=self.splits[row.split].name,
            audio=row.audio,
            text=row.text,
            reasons=tuple(reasons),
            duration_s=row.duration_s,
            start_s=row.start_s,
            end_s=row.end_s,
            speaker_id=row.speaker_id,
            language=row.language,
        )
