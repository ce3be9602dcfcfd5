"""Several sources in one epoch: every row of the main one once, and of the others as their shares ask.

The rows of another source are an endless tape, pass after pass, and each epoch goes on where the last one
ended: what is larger than its share is heard to its end before any of it comes again, and what is smaller
comes several times in an epoch. After n rows of the main source, counted over all epochs, exactly the whole
part of n * rate rows of it have been heard: shares hold to a row at any point, where drawing the source of
each row would only come near them. What is random is the order: of a local source in each pass, and of all
rows together in the steps. All of it is a function of the seed and the epoch, so a resumed run needs no more
than those two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

from whisper_peft.data.randomness import named_rng
from whisper_peft.errors import DataError
from whisper_peft.types import Utterance


@dataclass(frozen=True)
class Ingredient:
    """A source beside the main one.

    Attributes:
        name: Its name, which no other has.
        rows: Undecoded utterances: a sequence, or a stream that can be iterated again.
        rate: Rows that are heard for each row of the main source.
    """

    name: str
    rows: Sequence[Utterance] | Iterable[Utterance]
    rate: Fraction


class _Tape(Protocol):
    """The rows of a source, pass after pass."""

    def read(self, position: int) -> tuple[int, Utterance]:
        """Return the row at a position, and the number of the pass that it is of."""


class Mixture:
    """The rows of each epoch of a run on several sources.

    Args:
        main: Undecoded utterances of the main source: a sequence, or a stream that can be iterated again.
        others: The sources beside it.
        seed: Seed of the run.

    Example:
        >>> main, other = ([Utterance(f"{name}{n}", b"", "") for n in range(4)] for name in "ab")
        >>> mixture = Mixture(main, [Ingredient("b", other, Fraction(1, 2))], seed=0)
        >>> [[row.id for row in mixture.of_epoch(epoch)] for epoch in (0, 1)]
        [['a0', 'a1', 'b1', 'a2', 'a3', 'b2'], ['a0', 'a1', 'b0', 'a2', 'a3', 'b3']]
    """

    def __init__(
        self,
        main: Sequence[Utterance] | Iterable[Utterance],
        others: Sequence[Ingredient],
        *,
        seed: int,
    ) -> None:
        self.main, self.others, self.seed = main, tuple(others), seed
        self._tapes = [_tape(other, seed) for other in others]
        self._main_rows = len(main) if isinstance(main, Sequence) else None

    @property
    def is_local(self) -> bool:
        """Whether all rows can be looked through before the run."""
        return all(isinstance(rows, Sequence) for rows in (self.main, *(other.rows for other in self.others)))

    @property
    def rows_in_epoch(self) -> int | None:
        """Rows of the first epoch, from which others differ by a few; None where the main source streams."""
        if not isinstance(self.main, Sequence):
            return None
        return len(self.main) + sum(_due(len(self.main), other) for other in self.others)

    @property
    def every_row(self) -> Sequence[Utterance] | None:
        """Every row that there is, once; None where some are streamed."""
        if not self.is_local:
            return None
        return [*self.main, *(row for other in self.others for row in other.rows)]

    def of_epoch(self, epoch: int) -> Sequence[Utterance] | Iterable[Utterance]:
        """Return the rows of an epoch: a sequence where all sources are; else one row of each is held.

        In the second and later passes over a source within an epoch, ids end in #2 and so on, so that its
        speech is augmented otherwise each time.

        Raises:
            DataError: If a stream yields no rows.
        """
        return list(self._rows(epoch)) if self.is_local else self._rows(epoch)

    def _rows(self, epoch: int) -> Iterator[Utterance]:
        start = heard = epoch * self._count_main() if epoch else 0
        first_passes: dict[str, int] = {}
        for row in self._main_order(epoch):
            yield row
            heard += 1
            for other, tape in zip(self.others, self._tapes, strict=True):
                for position in range(_due(heard - 1, other), _due(heard, other)):
                    number, drawn = tape.read(position)
                    again = number - first_passes.setdefault(other.name, number)
                    yield replace(drawn, id=f"{drawn.id}#{again + 1}") if again else drawn
        self._main_rows = heard - start

    def _main_order(self, epoch: int) -> Iterable[Utterance]:
        """Return the main source's rows, shuffled where that is not left to the whole epoch's."""
        if self.is_local or not isinstance(self.main, Sequence):
            return self.main
        return (self.main[place] for place in _order("", self.seed, epoch, len(self.main)))

    def _count_main(self) -> int:
        """Return the main source's rows; a stream is read once more where a run resumes past epoch 0."""
        if self._main_rows is None:
            self._main_rows = sum(1 for _ in self.main)
        return self._main_rows


def _due(heard: int, other: Ingredient) -> int:
    """Return how many rows of a source go with so many of the main one."""
    return math.floor(heard * other.rate)


def _tape(source: Ingredient, seed: int) -> _Tape:
    if isinstance(source.rows, Sequence):
        return _LocalTape(source.name, source.rows, seed)
    return _StreamTape(source.name, source.rows)


def _order(name: str, seed: int, number: int, rows: int) -> Sequence[int]:
    order: list[int] = named_rng(f"mixing {seed}".encode(), f"{number} {name}").permutation(rows).tolist()
    return order


class _LocalTape:
    """Shuffled anew in each pass."""

    def __init__(self, name: str, rows: Sequence[Utterance], seed: int) -> None:
        self.name, self.rows, self.seed = name, rows, seed
        self._pass = -1
        self._places: Sequence[int] = ()

    def read(self, position: int) -> tuple[int, Utterance]:
        number, place = divmod(position, len(self.rows))
        if number != self._pass:
            self._pass, self._places = number, _order(self.name, self.seed, number, len(self.rows))
        return number, self.rows[self._places[place]]


class _StreamTape:
    """Read in its own order, a row at a time; for an earlier position it is read again from the start."""

    def __init__(self, name: str, rows: Iterable[Utterance]) -> None:
        self.name, self.rows = name, rows
        self._stream = iter(rows)
        self._next = 0
        self._length: int | None = None

    def read(self, position: int) -> tuple[int, Utterance]:
        if position < self._next:
            self._next, self._stream = 0, iter(self.rows)
        row = self._read_on()
        while self._next <= position:
            if self._length is not None:  # whole passes lead back to the same place
                self._next += (position - self._next) // self._length * self._length
            row = self._read_on()
        return (position // self._length if self._length else 0), row

    def _read_on(self) -> Utterance:
        row = next(self._stream, None)
        if row is None:
            self._length = self._length or self._next
            self._stream = iter(self.rows)
            row = next(self._stream, None)
        if row is None:
            what = f"the source {self.name} of data.mix ran out of rows"
            raise DataError(what, "none of them can be used", "check its train split")
        self._next += 1
        return row
