"""The speech of a run as a plan knows it: rows with their lengths, and nothing decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from whisper_peft.data.batches.mixing import Ingredient, Mixture
from whisper_peft.types import Utterance


@dataclass(frozen=True)
class Rows:
    """Rows of a split: all of them, or a sample that is spread evenly.

    Attributes:
        seen: Those that were looked at.
        count: How many there are, None of a stream.
    """

    seen: Sequence[Utterance]
    count: int | None

    @property
    def scale(self) -> float:
        """Rows that each one that was looked at stands for; 1 for those of a stream."""
        return 1.0 if self.count is None else self.count / len(self.seen)


@dataclass(frozen=True)
class Replayed:
    """Rows that are learned beside the main ones.

    Attributes:
        rows: What was looked at.
        rate: How many are heard for each row of the main source.
    """

    rows: Rows
    rate: Fraction


@dataclass(frozen=True)
class Material:
    """The speech of a run as far as it was looked at.

    Attributes:
        train: Rows to learn from.
        scored: Rows to score.
        replayed: What is learned beside them, by the name of its source.
        scored_too: What is scored beside them, likewise.
        restored: Sources whose text is restored, so that the untuned model hears them; None is the main one.
    """

    train: Rows
    scored: Rows
    replayed: Mapping[str, Replayed] = field(default_factory=dict)
    scored_too: Mapping[str, Rows] = field(default_factory=dict)
    restored: frozenset[str | None] = frozenset()

    def learned(self, seed: int) -> Sequence[Utterance] | Mixture:
        """Return what the steps are made of."""
        others = [Ingredient(name, one.rows.seen, one.rate) for name, one in self.replayed.items()]
        return Mixture(self.train.seen, others, seed=seed) if others else self.train.seen

    @property
    def rows_to_keep(self) -> int:
        """Rows whose encoder states a run may keep: all that are learned, of every source."""
        every = [self.train, *(one.rows for one in self.replayed.values())]
        return sum(len(rows.seen) if rows.count is None else rows.count for rows in every)
