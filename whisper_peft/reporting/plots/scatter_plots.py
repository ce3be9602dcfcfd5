"""WER against a cost as inline SVG, a numbered mark with its interval for each run; `report/scatter.html`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from whisper_peft.reporting.figures import percent, short_percent
from whisper_peft.reporting.plots.line_plots import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    Tick,
    tick_values,
)

RADIUS = 10
"""Of a mark, which holds the number of its run."""

WIDE_RANGE = 20
"""An axis whose largest value is so many times its smallest is logarithmic."""


@dataclass(frozen=True, slots=True)
class ScatterPoint:
    """A run: its number, what it took, its WER and the interval of that."""

    number: int
    name: str
    cost: float
    wer: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class ScatterMark:
    """A point in SVG units."""

    number: int
    name: str
    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ScatterPlot:
    """Everything that the template draws."""

    title: str
    description: str
    below: str
    marks: tuple[ScatterMark, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def scatter_plot(
    title: str, below: str, points: Sequence[ScatterPoint], print_cost: Callable[[float], str]
) -> ScatterPlot:
    """Lay out runs by their cost and their WER.

    Marks at the same cost stand side by side. A cost that ranges widely has a logarithmic axis.

    Args:
        title: Of the plot.
        below: Name of the cost.
        points: At least one.
        print_cost: How the axis shows a cost.

    Example:
        >>> points = [ScatterPoint(1, "a", 10.0, 0.2, (0.1, 0.3))]
        >>> scatter_plot("WER by time", "seconds", points, str).description
        'WER by time. 1, a: 20.0 % at 10.0 seconds.'
    """
    costs = [point.cost for point in points]
    is_log = min(costs) > 0 and max(costs) / min(costs) >= WIDE_RANGE
    ticks = _log_ticks(min(costs), max(costs)) if is_log else tick_values(0.0, max(costs))
    bounds = [bound for point in points for bound in point.interval]
    rates = [value for value in tick_values(min(bounds), max(bounds)) if value >= 0]
    place = _log if is_log else float
    x = Scale(place(ticks[0]), place(ticks[-1]), LEFT + RADIUS, WIDTH - RIGHT - RADIUS)
    y = Scale(rates[0], rates[-1], HEIGHT - BOTTOM, TOP)
    told = " ".join(
        f"{one.number}, {one.name}: {percent(one.wer, 1)} at {print_cost(one.cost)} {below}."
        for one in points
    )
    return ScatterPlot(
        title,
        f"{title}. {told}",
        below + (" (logarithmic)" if is_log else ""),
        _side_by_side([_mark(one, x(place(one.cost)), y) for one in points]),
        tuple(Tick(x(place(value)), print_cost(value)) for value in ticks),
        tuple(Tick(y(value), short_percent(value)) for value in rates),
    )


def compact(value: float) -> str:
    """Print a large number in two or three digits.

    Example:
        >>> compact(950), compact(26_112), compact(1_376_256), compact(37_760_256)
        ('950', '26k', '1.4M', '38M')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            scaled = value / size
            return f"{scaled:.0f}{letter}" if scaled >= 9.95 else f"{scaled:.2g}{letter}"
    return f"{value:.0f}"


def _log(value: float) -> float:
    return math.log10(value)


def _log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten from below `low` to above `high`."""
    powers = range(math.floor(_log(low)), math.ceil(_log(high)) + 1)
    return [10.0**power for power in powers]


def _mark(point: ScatterPoint, x: float, y: Scale) -> ScatterMark:
    low, high = point.interval
    return ScatterMark(point.number, point.name, x, y(point.wer), y(low), y(high))


def _side_by_side(marks: Sequence[ScatterMark]) -> tuple[ScatterMark, ...]:
    """Move marks that would cover each other, or each other's interval, towards the middle of the plot."""
    placed: list[ScatterMark] = []
    for mark in sorted(marks, key=lambda one: one.number):
        step = 2 * RADIUS + 1 if mark.x < WIDTH / 2 else -2 * RADIUS - 1
        x = mark.x
        while any(abs(other.x - x) < 2 * RADIUS for other in placed):
            x += step
        placed.append(replace(mark, x=round(x, 1)))
    return tuple(placed)
