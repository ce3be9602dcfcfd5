"""The rows of a stream in pools to shuffle, and where each pool begins: what a resumed run goes on from.

A run that goes on in the middle of an epoch needs the pool that it stopped in, not the rows of the pools
before. So each pool notes its place by the numbers of its rows, and a stream that can begin at a number
(`NumberedRows`) is read from there; the recordings before it stay unread. Any other stream is read again from
the start of the epoch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from whisper_peft.types import Utterance


@dataclass(frozen=True, slots=True)
class StreamPlace:
    """Where a pool of a stream begins.

    Attributes:
        pool: Its number in the epoch, and
        step: that of its first step.
        start: Number to read from: that of the row before the first one that is wanted.
        waiting: Numbers of the rows that earlier pools left to it.
        fresh: Number from which on all rows are new to it.
        left_out: Rows refused before `fresh`, by reason, as far as they are counted.
    """

    pool: int = 0
    step: int = 0
    start: int = 0
    waiting: tuple[int, ...] = ()
    fresh: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)

    @classmethod
    def of_dict(cls, plain: Mapping[str, Any]) -> StreamPlace:
        """Return the place of its plain JSON form.

        Example:
            >>> place = StreamPlace(pool=2, waiting=(7, 9))
            >>> StreamPlace.of_dict(place.to_dict()) == place
            True
        """
        return cls(**{**plain, "waiting": tuple(plain["waiting"])})


@runtime_checkable
class NumberedRows(Protocol):
    """A stream whose rows have numbers, at any of which it can begin."""

    @property
    def left_out(self) -> Mapping[str, int]:
        """Rows refused so far, by reason."""

    def numbered(self, place: StreamPlace, *, epoch: int) -> Iterator[tuple[int, Utterance]]:
        """Yield the rows from a place on, with numbers that grow: that of a row is the same in each pass."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Rows that are shuffled together.

    Attributes:
        rows: In their drawn order.
        is_last: Whether the epoch ends with them.
        place: Where they begin; None for a stream without numbers.
        rng: Draws for this pool.
    """

    rows: list[Utterance]
    is_last: bool
    place: StreamPlace | None
    rng: np.random.Generator


@dataclass(frozen=True, slots=True)
class _Numbered:
    """A row with its number and that of the row before it."""

    number: int
    before: int
    row: Utterance


def stream_pools(
    rows: Iterable[Utterance],
    *,
    window: int,
    at_least: int,
    whole: Callable[[Sequence[Utterance]], int],
    seed: int,
    epoch: int,
    place: StreamPlace | None = None,
) -> Iterator[Pool]:
    """Yield shuffled pools of a stream, each a whole number of steps but for the last.

    Args:
        rows: The stream.
        window: Rows that are read at a time, but
        at_least: so many for the first pool.
        whole: Returns how many of a pool's rows make whole steps; the others wait for the next one.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        place: Where an earlier pass over the same stream noted that a pool begins.
    """
    begin = place or StreamPlace()
    reader = _Reader(rows, begin, epoch)
    waiting = reader.read_waiting(begin)
    fresh_from, left_out = begin.fresh, begin.left_out
    fresh = reader.read(window if begin.pool else max(window, at_least))
    for number in itertools.count(begin.pool):
        if not fresh:
            return
        begins = StreamPlace(
            pool=number,
            start=min(fresh_from, *(one.before for one in (*waiting, *fresh))),
            waiting=tuple(one.number for one in waiting),
            fresh=fresh_from,
            left_out=left_out,
        )
        fresh_from, left_out = reader.next_number, reader.left_out()
        coming = reader.read(window)
        rng = np.random.default_rng([seed, epoch, number])
        pool = [*waiting, *fresh]
        pool = [pool[place] for place in rng.permutation(len(pool))]
        rows_of_pool = [one.row for one in pool]
        kept = whole(rows_of_pool) if coming else len(pool)
        yield Pool(rows_of_pool[:kept], not coming, begins if reader.can_begin_anywhere else None, rng)
        waiting, fresh = pool[kept:], coming


class _Reader:
    """Reads a stream from a place on."""

    def __init__(self, rows: Iterable[Utterance], place: StreamPlace, epoch: int) -> None:
        self.rows = rows
        self.can_begin_anywhere = isinstance(rows, NumberedRows)
        self.next_number = place.fresh
        pairs = rows.numbered(place, epoch=epoch) if isinstance(rows, NumberedRows) else enumerate(rows)
        self._stream = _with_number_before(pairs)

    def read(self, count: int) -> list[_Numbered]:
        """Return the next rows, fewer at the end."""
        read = list(itertools.islice(self._stream, count))
        self.next_number = read[-1].number + 1 if read else self.next_number
        return read

    def read_waiting(self, place: StreamPlace) -> list[_Numbered]:
        """Return the rows that wait at a place, in their order, and stop before the first fresh one."""
        found: dict[int, _Numbered] = {}
        for one in self._stream:
            if one.number >= place.fresh:
                self._stream = itertools.chain([one], self._stream)
                break
            found[one.number] = one
        return [found[number] for number in place.waiting]

    def left_out(self) -> dict[str, int]:
        """Return the rows refused so far, by reason."""
        return dict(self.rows.left_out) if isinstance(self.rows, NumberedRows) else {}


def _with_number_before(pairs: Iterable[tuple[int, Utterance]]) -> Iterator[_Numbered]:
    before: int | None = None
    for number, row in pairs:
        yield _Numbered(number, number if before is None else before, row)
        before = number
