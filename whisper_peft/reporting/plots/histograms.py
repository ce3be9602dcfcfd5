"""Histograms as inline SVG: geometry here, marks in `templates/histogram.html`, colours in `page.css`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from whisper_peft.data.survey.sketches import Distribution
from whisper_peft.reporting import figures
from whisper_peft.reporting.plots.line_plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale, Tick

GAP = 1.0
"""Units between two bars."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar in SVG units, and what it says when it is pointed at."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """Everything that the template draws."""

    title: str
    caption: str
    unit: str
    description: str
    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def histogram(
    title: str, values: Distribution | None, *, unit: str, print_value: Callable[[float], str]
) -> Histogram | None:
    """Lay out a distribution; None where nothing was counted.

    Example:
        >>> from whisper_peft.data.survey.sketches import Sketch
        >>> seconds = Sketch(0.01, is_log=True)
        >>> for value in (1.0, 2.0, 2.1, 9.0):
        ...     seconds.add(value)
        >>> drawn = histogram("Durations", seconds.summary(), unit="s", print_value=figures.count)
        >>> drawn.caption
        'median 2, from 1 to 9 s'
    """
    if values is None:
        return None
    x = Scale(values.edges[0], values.edges[-1], LEFT, WIDTH - RIGHT)
    y_values = _ticks(0, max(values.counts))
    y = Scale(0.0, y_values[-1], HEIGHT - BOTTOM, TOP)
    least, middle, most = map(print_value, (values.least, values.median, values.most))
    caption = f"median {middle}, from {least} to {most} {unit}".rstrip()
    bars = zip(values.edges, values.edges[1:], values.counts, strict=False)
    return Histogram(
        title,
        caption,
        unit,
        f"Histogram of {values.count:,} values. {title}: {caption}.",
        tuple(_bar(*bar, x, y, unit, print_value) for bar in bars if bar[2]),
        tuple(
            Tick(x(value), print_value(value))
            for value in _ticks(values.edges[0], values.edges[-1])
            if values.edges[0] <= value <= values.edges[-1]
        ),
        tuple(Tick(y(value), figures.count(value)) for value in y_values),
    )


def _bar(
    low: float, high: float, count: int, x: Scale, y: Scale, unit: str, print_value: Callable[[float], str]
) -> Bar:
    label = f"{print_value(low)} to {print_value(high)} {unit}".rstrip() + f": {figures.count(count)}"
    top = y(count)
    return Bar(x(low), top, round(x(high) - x(low) - GAP, 1), round(y(0) - top, 1), label)


def _ticks(low: float, high: float) -> list[float]:
    locator = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10])
    return [float(value) for value in locator.tick_values(low, max(high, low + 1e-9))]
