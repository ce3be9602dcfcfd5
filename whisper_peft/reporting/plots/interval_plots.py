"""Rates with their intervals as inline SVG, a row for each kind; marks in `report/intervals.html`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from whisper_peft.evaluation.error_analysis.values import Calibration, Rate, Slice
from whisper_peft.reporting.figures import percent, short_percent, utterances
from whisper_peft.reporting.plots.line_plots import RIGHT, WIDTH, Scale, Tick, tick_values

LABELS = 172
"""Units that the names of the kinds take at the left."""

LONGEST_LABEL = 22
"""Signs that fit there; the table beside the plot has the whole name."""

ROW, FIRST_ROW, AXIS = 36, 8, 42
"""Height of a row, and room above and below them."""

LEAST_END = 0.05
"""A WER axis goes at least so far."""

WIDEST = 1.5
"""A WER axis ends at this many times the highest rate: wider intervals, of a few utterances, are cut."""

SQUARE = 330
"""Height of a plot of confidence."""

SHIFTS = {"before": -6.0, "after": 6.0}
"""Units that a mark lies above or below the middle of its row."""


@dataclass(frozen=True, slots=True)
class IntervalMark:
    """A rate and its interval in SVG units; `when` it was measured tells its shape."""

    when: str
    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """A kind, its name and its size, at the height of its row."""

    label: str
    size: str
    y: float
    marks: tuple[IntervalMark, ...]


@dataclass(frozen=True, slots=True)
class IntervalPlot:
    """Everything that the template draws."""

    title: str
    description: str
    rows: tuple[IntervalRow, ...]
    ticks: tuple[Tick, ...]
    whens: tuple[str, ...]
    height: float
    width: int = WIDTH
    left: int = LABELS
    right: int = WIDTH - RIGHT
    top: int = FIRST_ROW

    @property
    def bottom(self) -> float:
        """Where the axis lies."""
        return self.height - AXIS


def interval_plot(title: str, slices: Sequence[Slice]) -> IntervalPlot:
    """Lay out the rates of a dimension.

    Example:
        >>> rate = Rate(0.1, (0.05, 0.2))
        >>> plot = interval_plot("WER by duration", [Slice("under 2 s", 9, 40, after=rate)])
        >>> plot.description
        'WER by duration. under 2 s, 9 utterances: after 10.0 %, from 5.0 % to 20.0 %.'
        >>> plot.rows[0].marks[0].when
        'after'
    """
    rates = [rate for one in slices for _, rate in _rates(one)]
    highest = max(rate.value for rate in rates)
    ticks = tick_values(0.0, max(LEAST_END, min(max(rate.interval[1] for rate in rates), WIDEST * highest)))
    x = Scale(0.0, ticks[-1], LABELS, WIDTH - RIGHT)
    return IntervalPlot(
        title,
        f"{title}. " + " ".join(_told(one) for one in slices),
        tuple(_row(one, place, x) for place, one in enumerate(slices)),
        tuple(Tick(x(value), short_percent(value)) for value in ticks),
        tuple(when for when, _ in _rates(slices[0])),
        height=FIRST_ROW + ROW * len(slices) + AXIS,
    )


def _rates(one: Slice) -> Iterator[tuple[str, Rate]]:
    for when, rate in (("before", one.before), ("after", one.after)):
        if rate is not None:
            yield when, rate


def _row(one: Slice, place: int, x: Scale) -> IntervalRow:
    middle = FIRST_ROW + ROW * (place + 0.5)
    label = one.name if len(one.name) <= LONGEST_LABEL else one.name[: LONGEST_LABEL - 1] + "…"
    marks = tuple(
        IntervalMark(
            when, x(rate.value), middle + SHIFTS[when], x(rate.interval[0]), x(min(rate.interval[1], x.high))
        )
        for when, rate in _rates(one)
    )
    return IntervalRow(label, utterances(one.utterances), middle, marks)


def _told(one: Slice) -> str:
    rates = "; ".join(
        f"{when} {percent(rate.value, 1)}, from {' to '.join(percent(bound, 1) for bound in rate.interval)}"
        for when, rate in _rates(one)
    )
    return f"{one.name}, {utterances(one.utterances)}: {rates}."


@dataclass(frozen=True, slots=True)
class ReliabilityMark:
    """A bin of confidence in SVG units."""

    when: str
    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ReliabilityPlot:
    """Confidence to the right, share of right words upwards; on the diagonal they are equal."""

    description: str
    marks: tuple[ReliabilityMark, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    whens: tuple[str, ...]
    width: int = WIDTH
    height: int = SQUARE
    left: int = 62
    right: int = WIDTH - RIGHT
    top: int = 14
    bottom: int = SQUARE - AXIS


def reliability_plot(curves: dict[str, Calibration]) -> ReliabilityPlot:
    """Lay out confidence beside the share of right words, on axes of the same range up to 1."""
    bins = [(when, one) for when, curve in curves.items() for one in curve.bins]
    least = min(min(one.confidence, one.right.interval[0]) for _, one in bins)
    ticks = [value for value in tick_values(min(least, 0.9), 1.0) if value <= 1.0]
    plot = ReliabilityPlot("", (), (), (), tuple(curves))
    x, y = Scale(ticks[0], 1.0, plot.left, plot.right), Scale(ticks[0], 1.0, plot.bottom, plot.top)
    told = "; ".join(
        f"{when}, confidence {percent(one.confidence, 1)}: {percent(one.right.value, 1)} of the words right"
        for when, one in bins
    )
    return ReliabilityPlot(
        f"Confidence beside the share of right words. {told}.",
        tuple(
            ReliabilityMark(
                when,
                x(one.confidence),
                y(one.right.value),
                y(one.right.interval[0]),
                y(one.right.interval[1]),
            )
            for when, one in bins
        ),
        tuple(Tick(x(value), short_percent(value)) for value in ticks),
        tuple(Tick(y(value), short_percent(value)) for value in ticks),
        tuple(curves),
    )
