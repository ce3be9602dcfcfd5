"""Numbers over the steps of a run, as `report.json` holds them: as many points as a reader can see."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

MOST_POINTS = 240
"""Points of a curve. A longer one is cut into as many stretches of steps."""

DIGITS = 6
"""Significant digits of a point; the extremes and the mean of a curve are exact."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One number over the steps.

    Attributes:
        steps: The last step of each stretch.
        values: The mean of each stretch; not a number where none of its values is finite.
        low: The lowest of each stretch, and
        high: the highest; both empty where every stretch is one row of the log.
        rows: Rows of the log that have the number.
        first: Its first value, finite or not, and
        last: the last one.
        lowest: The least finite value, None where there is none, and
        lowest_step: its step.
        highest: The greatest, and
        highest_step: its step.
        mean: The mean of all finite values.
        not_finite: Rows in which it is not finite.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    rows: int
    first: float
    last: float
    lowest: float | None
    lowest_step: int | None
    highest: float | None
    highest_step: int | None
    mean: float | None
    not_finite: int


@dataclass(frozen=True, slots=True)
class TrainingCurves:
    """What `log.jsonl` tells: by name, over the steps and over the evaluations.

    `notes` are sentences on what is missing or damaged.
    """

    training: dict[str, Curve] = field(default_factory=dict)
    evaluations: dict[str, Curve] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def curve_of(steps: Sequence[int], values: Sequence[float], most: int = MOST_POINTS) -> Curve:
    """Return the curve of a number that was measured at least once; no spike of it is lost.

    Args:
        steps: In their order.
        values: At these steps.
        most: Points that it may have.

    Example:
        >>> curve = curve_of(range(1, 7), [5.0, 3.0, 4.0, 9.0, 1.0, 2.0], most=3)
        >>> curve.steps, curve.values, curve.high, curve.highest_step
        ((2, 4, 6), (4.0, 6.5, 1.5), (5.0, 9.0, 2.0), 4)
    """
    size = math.ceil(len(values) / most)
    parts = [_finite(values[start : start + size]) for start in range(0, len(values), size)]
    finite = [place for place, value in enumerate(values) if math.isfinite(value)]
    lowest = min(finite, key=values.__getitem__, default=None)
    highest = max(finite, key=values.__getitem__, default=None)
    return Curve(
        steps=tuple(steps[min(start + size, len(steps)) - 1] for start in range(0, len(steps), size)),
        values=tuple(_rounded(math.fsum(part) / len(part)) if part else math.nan for part in parts),
        low=tuple(_rounded(min(part, default=math.nan)) for part in parts) if size > 1 else (),
        high=tuple(_rounded(max(part, default=math.nan)) for part in parts) if size > 1 else (),
        rows=len(values),
        first=values[0],
        last=values[-1],
        lowest=None if lowest is None else values[lowest],
        lowest_step=None if lowest is None else steps[lowest],
        highest=None if highest is None else values[highest],
        highest_step=None if highest is None else steps[highest],
        mean=math.fsum(values[place] for place in finite) / len(finite) if finite else None,
        not_finite=len(values) - len(finite),
    )


class Column:
    """The values of one name as they are read, eight bytes each: a log may have hundreds of thousands."""

    def __init__(self) -> None:
        self.steps, self.values = array("q"), array("d")

    def add(self, step: int, value: float) -> None:
        """Take in a value; it takes the place of those of its own step and of later ones."""
        self.go_back(step)
        self.steps.append(step)
        self.values.append(value)

    def go_back(self, step: int) -> None:
        """Forget what lies at a step and after it: the run went back to before it."""
        while self.steps and self.steps[-1] >= step:
            self.steps.pop()
            self.values.pop()

    def curve(self) -> Curve:
        """Return the curve of what was taken in."""
        return curve_of(self.steps, self.values)


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
