"""Line plots as inline SVG: geometry here, marks in `templates/plot.html`, colours in `page.css`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from matplotlib.ticker import MaxNLocator

from whisper_peft.reporting.json_lines import Curve

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 62, 22, 14, 42
"""Margins: tick labels at the left, the name of the x axis below."""

MOST_POINTS = 600
"""Points of a drawn curve. Longer ones keep the lowest and highest of each stretch: no spike is lost."""

DOTTED_POINTS = 40
"""Curves of at most so many points show each one as a dot."""


@dataclass(frozen=True, slots=True)
class Series:
    """One curve and how it looks: a line (dotted where short), or marks with a whisker for their interval."""

    name: str
    points: Curve
    marks_only: bool = False
    intervals: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis, in SVG units."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """One series in SVG units."""

    name: str
    path: str
    dots: tuple[tuple[float, float], ...]
    marks: tuple[tuple[float, float], ...]
    whiskers: tuple[tuple[float, float, float], ...]
    gaps: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """Everything that the template draws."""

    title: str
    description: str
    drawings: tuple[Drawing, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from a value to SVG units."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where `value` lies."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def line_plot(title: str, series: Sequence[Series], print_value: Callable[[float], str]) -> Plot | None:
    """Lay out curves over the training steps, from zero upwards; None when there is no finite point.

    Example:
        >>> plot = line_plot("Loss", [Series("loss", ((1, 2.0), (2, 1.0)))], str)
        >>> plot.description
        'Loss over training steps. loss: 2.0 at step 1, 1.0 at step 2.'
        >>> plot.drawings[0].path
        'M62.0 14.0L418.0 111.0'
    """
    finite = [point for one in series for point in one.points if math.isfinite(point[1])]
    if not finite:
        return None
    bounds = [bound for one in series for interval in one.intervals for bound in interval]
    steps = [step for one in series for step, _ in one.points]
    x_values = tick_values(min(steps), max(steps), whole=True)
    y_values = tick_values(0.0, max(bounds + [value for _, value in finite]))
    x = Scale(min(steps), max(max(steps), min(steps) + 1), LEFT, WIDTH - RIGHT)
    y = Scale(0.0, y_values[-1], HEIGHT - BOTTOM, TOP)
    return Plot(
        title,
        _describe(title, series, print_value),
        tuple(_draw(one, x, y) for one in series),
        tuple(Tick(x(value), f"{value:,.0f}") for value in x_values if min(steps) <= value <= max(steps)),
        tuple(Tick(y(value), print_value(value)) for value in y_values),
    )


def thin(points: Curve, most: int = MOST_POINTS) -> Curve:
    """Keep the lowest and the highest point of each stretch, and the first and last of all.

    Example:
        >>> thin(tuple((step, step % 7) for step in range(1000)), most=4)
        ((0, 0), (6, 6), (503, 6), (504, 0), (999, 5))
    """
    if len(points) <= most:
        return points
    stretch = math.ceil(len(points) / (most / 2))
    kept = {points[0], points[-1]}
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        kept |= {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
    return tuple(sorted(kept))


def tick_values(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return round values from below `low` to above `high`, about five of them.

    Example:
        >>> tick_values(0.0, 0.17)
        [0.0, 0.05, 0.1, 0.15000000000000002, 0.2]
    """
    if high <= low:
        high = low + 1
    locator = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10], integer=whole)
    return [float(value) for value in locator.tick_values(low, high)]


def _describe(title: str, series: Sequence[Series], print_value: Callable[[float], str]) -> str:
    """Say in words what the plot shows, for those who do not see it."""
    parts = [f"{title} over training steps."]
    for one in series:
        ends = [one.points[0], one.points[-1]] if len(one.points) > 1 else list(one.points)
        told = ", ".join(f"{print_value(value)} at step {step:,.0f}" for step, value in ends)
        parts.append(f"{one.name}: {told}.")
    return " ".join(parts)


def _draw(series: Series, x: Scale, y: Scale) -> Drawing:
    finite = tuple(point for point in series.points if math.isfinite(point[1]))
    places = tuple((x(step), y(value)) for step, value in finite)
    dotted = not series.marks_only and len(finite) <= DOTTED_POINTS
    return Drawing(
        series.name,
        "" if series.marks_only else "".join(_path(series.points, x, y)),
        places if dotted else (),
        places if series.marks_only else (),
        tuple(
            (x(step), y(low), y(high))
            for (step, _), (low, high) in zip(series.points, series.intervals, strict=False)
        ),
        tuple(x(step) for step, value in series.points if not math.isfinite(value)),
    )


def _path(points: Curve, x: Scale, y: Scale) -> Iterator[str]:
    """Yield SVG path commands; the pen is lifted over values that are not finite."""
    for finite, stretch in groupby(points, key=lambda point: math.isfinite(point[1])):
        if finite:
            places = (f"{x(step)} {y(value)}" for step, value in thin(tuple(stretch)))
            yield "M" + "L".join(places)
