"""Which rows are far from others of their kind, told in bounded memory when all have been seen.

The measure is the robust z-score, of the logarithm where values are ratios: the distance from the median in
units of 1.4826 times the median absolute deviation, which the outliers themselves do not widen (Iglewicz and
Hoaglin, 1993).
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from whisper_peft.data.survey.sketches import Sketch

Row = TypeVar("Row")

MOST_Z = 4.5
"""Robust z-scores beyond this are outliers: 7 in a million of a normal distribution."""

STEP = 0.01
"""Width of a bin: a hundredth, or a hundredth of a nat."""

LEAST_DEVIATION = 0.1
"""Least deviation that is assumed, so that no speech is too even: about a tenth, or a tenth of a nat."""

FEWEST_TO_COMPARE = 30
"""Rows of a kind that there must be before they say what is usual."""

LENGTHS = (10, 25, 60, 120, 240)
"""Letters from which on a text is of another kind: short ones vary more."""

MOST_KEPT = 200
"""Candidates of each end that a kind keeps until all rows have been seen."""


@dataclass(frozen=True, slots=True)
class Outlier(Generic[Row]):
    """A row far from others of its kind: its value, its z-score, and their median."""

    row: Row
    value: float
    z: float
    usual: float


@dataclass
class OutlierSearch(Generic[Row]):
    """Takes in values of rows, and then yields those far from the rest.

    Args:
        is_log: Whether the logarithms are compared, as of rates; not of what is one already, as a loss is.

    Example:
        >>> search = OutlierSearch[str]()
        >>> for place in range(100):
        ...     search.add(f"row {place}", 10 + place % 5, letters=20)
        >>> search.add("odd", 90.0, letters=24)
        >>> [(found.row, round(found.usual)) for found in search.outliers()]
        [('odd', 12)]
    """

    is_log: bool = True
    _kinds: dict[tuple[Hashable, int], _Kind[Row]] = field(default_factory=dict)
    _families: dict[Hashable, Sketch] = field(default_factory=dict)

    def add(self, row: Row, value: float, *, letters: int, family: Hashable = None) -> None:
        """Note a row.

        Args:
            row: Handed back where it is an outlier.
            value: Is judged among rows of about as many letters, of the same family; where there are few of
                those, among the whole family.
            letters: Length of the row's text.
            family: What else makes rows comparable, such as their script.
        """
        kind = (family, _length_kind(letters))
        if kind not in self._kinds:
            self._kinds[kind] = _Kind(Sketch(STEP, is_log=self.is_log))
        self._kinds[kind].add(row, value)
        self._families.setdefault(family, Sketch(STEP, is_log=self.is_log)).add(value)

    def outliers(self) -> Iterator[Outlier[Row]]:
        """Yield the rows far from the rest, on either side."""
        for (family, _), kind in self._kinds.items():
            others = kind.values if kind.values.count >= FEWEST_TO_COMPARE else self._families[family]
            if others.count >= FEWEST_TO_COMPARE:
                usual = round(others.quantile(0.5), 1)
                for row, value in kind.candidates():
                    z = others.robust_z(value, least=LEAST_DEVIATION)
                    if abs(z) > MOST_Z:
                        yield Outlier(row, value, z, usual)


def _length_kind(letters: int) -> int:
    return sum(letters >= bound for bound in LENGTHS)


@dataclass
class _Kind(Generic[Row]):
    """The values of a kind, and the rows at both ends."""

    values: Sketch
    _high: list[tuple[float, int, Row]] = field(default_factory=list)
    _low: list[tuple[float, int, Row]] = field(default_factory=list)

    def add(self, row: Row, value: float) -> None:
        self.values.add(value)
        for heap, key in ((self._high, value), (self._low, -value)):
            item = (key, self.values.count, row)
            if len(heap) < MOST_KEPT:
                heapq.heappush(heap, item)
            else:
                heapq.heappushpop(heap, item)

    def candidates(self) -> Iterator[tuple[Row, float]]:
        median = self.values.quantile(0.5)
        yield from ((row, value) for value, _, row in self._high if value > median)
        yield from ((row, -value) for value, _, row in self._low if -value <= median)
