"""Line plots as inline SVG: geometry here, marks in `templates/plot.html`, colours in `page.css`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

from matplotlib.ticker import MaxNLocator

Points: TypeAlias = tuple[tuple[float, float], ...]
"""Places along the x axis, and values; a value that is not finite is kept."""

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 62, 22, 14, 42
"""Margins: tick labels at the left, the name of the x axis below."""

MOST_POINTS = 600
"""Points of a drawn curve. Longer ones keep the lowest and highest of each stretch: no spike is lost."""

WIDE_RANGE = 8.0
"""An axis that may be logarithmic is where the highest value is more than so many times the middle one."""

DOTTED_POINTS = 40
"""Curves of at most so many points show each one as a dot."""


@dataclass(frozen=True, slots=True)
class Series:
    """One curve and how it looks: a line (dotted where short), or marks with a whisker for their interval.

    Attributes:
        name: What it is called beside others.
        points: Places along the x axis and values.
        marks_only: Whether points are marks without a line.
        intervals: Lowest and highest at each mark.
        band: Lowest and highest that a point of a line stands for; empty where it stands for itself.
        path: Where in `report.json` it lies.
    """

    name: str
    points: Points
    marks_only: bool = False
    intervals: tuple[tuple[float, float], ...] = ()
    band: tuple[tuple[float, float], ...] = ()
    path: str = ""


@dataclass(frozen=True, slots=True)
class XAxis:
    """What lies along the x axis.

    Attributes:
        name: Below the axis.
        told: In a description.
        at: Before a place in a description.
        unit: After it.
    """

    name: str
    told: str
    at: str
    unit: str = ""


STEPS = XAxis("step", "training steps", "step ")


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis, in SVG units."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """One series in SVG units; `source` is where in `report.json` it lies."""

    name: str
    source: str
    path: str
    band: str
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
    below: str = STEPS.name
    is_log: bool = False
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


@dataclass(frozen=True, slots=True)
class LogScale:
    """The same for the logarithm of a value above zero; lower ones lie at the start."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where `value` lies."""
        span = math.log(self.high / self.low)
        share = math.log(max(value, self.low) / self.low) / span
        return round(self.start + share * (self.end - self.start), 1)


def line_plot(
    title: str,
    series: Sequence[Series],
    print_value: Callable[[float], str],
    *,
    along: XAxis = STEPS,
    wide_range: bool = False,
    unit: float = 1.0,
) -> Plot | None:
    """Lay out curves, from zero upwards; None when there is no finite point.

    Args:
        title: What they show.
        series: The curves.
        print_value: Prints a value at the y axis.
        along: What lies along the x axis.
        wide_range: Whether the y axis is logarithmic where the highest value would flatten the others.
        unit: What the y axis counts in round numbers of, such as the bytes of a GiB.

    Example:
        >>> plot = line_plot("Loss", [Series("loss", ((1, 2.0), (2, 1.0)))], str)
        >>> plot.description
        'Loss over training steps. loss: 2.0 at step 1, 1.0 at step 2.'
        >>> plot.drawings[0].path
        'M62.0 14.0L418.0 111.0'
    """
    finite = [value for one in series for _, value in one.points if math.isfinite(value)]
    if not finite:
        return None
    bounds = [bound for one in series for pair in (*one.intervals, *one.band) for bound in pair]
    values = finite + [bound for bound in bounds if math.isfinite(bound)]
    places = [place for one in series for place, _ in one.points]
    x_values = tick_values(min(places), max(places), whole=along is STEPS)
    x = Scale(min(places), max(places) if max(places) > min(places) else min(places) + 1, LEFT, WIDTH - RIGHT)
    is_log = wide_range and min(values) > 0 and max(values) > WIDE_RANGE * statistics.median(finite)
    if is_log:
        y_values = decades(min(values), max(values))
    else:
        y_values = [unit * value for value in tick_values(0.0, max(values) / unit)]
    y = (LogScale if is_log else Scale)(y_values[0], y_values[-1], HEIGHT - BOTTOM, TOP)
    return Plot(
        title,
        _describe(title, series, print_value, along),
        tuple(_draw(one, x, y) for one in series),
        tuple(Tick(x(value), f"{value:,.10g}") for value in x_values if min(places) <= value <= max(places)),
        tuple(Tick(y(value), print_value(value)) for value in y_values),
        below=along.name,
        is_log=is_log,
    )


def thin(points: Points, most: int = MOST_POINTS) -> Points:
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


def decades(low: float, high: float) -> list[float]:
    """Return round values for a logarithmic axis, from below `low` to above `high`.

    Example:
        >>> decades(0.7, 60.0), decades(0.002, 70.0)
        ([0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0], [0.001, 0.01, 0.1, 1.0, 10.0, 100.0])
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    every = [float(f"{step}e{power}") for power in range(first, last + 1) for step in steps]
    start = max(place for place, value in enumerate(every) if value <= low)
    end = min((place for place, value in enumerate(every) if value >= high and place > start))
    return every[start : end + 1]


def _describe(title: str, series: Sequence[Series], print_value: Callable[[float], str], along: XAxis) -> str:
    """Say in words what the plot shows, for those who do not see it."""
    parts = [f"{title} over {along.told}."]
    for one in series:
        ends = [one.points[0], one.points[-1]] if len(one.points) > 1 else list(one.points)
        told = ", ".join(
            f"{print_value(value)} at {along.at}{place:,.10g}{along.unit}" for place, value in ends
        )
        parts.append(f"{one.name}: {told}.")
    return " ".join(parts)


def _draw(series: Series, x: Scale, y: Scale | LogScale) -> Drawing:
    finite = tuple(point for point in series.points if math.isfinite(point[1]))
    places = tuple((x(place), y(value)) for place, value in finite)
    dotted = not series.marks_only and len(finite) <= DOTTED_POINTS
    return Drawing(
        series.name,
        series.path,
        "" if series.marks_only else "".join(_path(series.points, x, y)),
        _band(series, x, y),
        places if dotted else (),
        places if series.marks_only else (),
        tuple(
            (x(place), y(low), y(high))
            for (place, _), (low, high) in zip(series.points, series.intervals, strict=False)
        ),
        tuple(x(place) for place, value in series.points if not math.isfinite(value)),
    )


def _band(series: Series, x: Scale, y: Scale | LogScale) -> str:
    """Return the outline of what lies between the lowest and the highest values."""
    spans = [
        (x(place), y(low), y(high))
        for (place, _), (low, high) in zip(series.points, series.band, strict=False)
        if math.isfinite(low)
    ]
    outline = [f"{at} {high}" for at, _, high in spans] + [f"{at} {low}" for at, low, _ in reversed(spans)]
    return f"M{'L'.join(outline)}z" if spans else ""


def _path(points: Points, x: Scale, y: Scale | LogScale) -> Iterator[str]:
    """Yield SVG path commands; the pen is lifted over values that are not finite."""
    for finite, stretch in groupby(points, key=lambda point: math.isfinite(point[1])):
        if finite:
            places = (f"{x(place)} {y(value)}" for place, value in thin(tuple(stretch)))
            yield "M" + "L".join(places)
