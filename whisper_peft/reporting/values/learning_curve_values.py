"""How the WER falls with the hours of speech: what was measured, the law through it, and where it leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from whisper_peft.evaluation.resampling import percentile_interval
from whisper_peft.reporting.figures import count, interval, percent, short

LEAST_RATE = 1e-4
"""A rate of zero has no logarithm; it is fitted as one error in ten thousand words."""

AHEAD = (2.0, 4.0, 10.0)
"""Times the speech that there is, to look ahead to."""

MEASURED_COLOR, QUIET = "#1557b0", "#545c69"
"""The report's colours."""

Interval = tuple[float, float]
"""Both ends of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class LearningPoint:
    """What a share of the speech taught: the mean WER over `seeds` runs, with its interval."""

    share: float
    hours: float
    utterances: int
    seeds: int
    wer: float
    wer_interval: Interval


@dataclass(frozen=True, slots=True)
class Expectation:
    """WER that the fitted law expects of so many hours."""

    hours: float
    wer: float
    wer_interval: Interval


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """WER over hours of training speech.

    Attributes:
        recipe: Name of what was run.
        scored_on: Split, and how many utterances.
        untuned_wer: Of the model before training; None where it was not scored.
        points: One for each share, from the smallest.
        exponent: How steeply the WER falls: twice the speech multiplies it by 2 ** -exponent.
        expected: The law from the smallest share to ten times all speech.
        folder: Where the runs and the plot lie.
    """

    recipe: str
    scored_on: str
    untuned_wer: float | None
    points: tuple[LearningPoint, ...]
    exponent: float
    exponent_interval: Interval
    expected: tuple[Expectation, ...]
    folder: str

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form, with what it says."""
        return {**asdict(self), "sentences": list(self.sentences())}

    def sentences(self) -> tuple[str, ...]:
        """Say what more speech would bring, how sure that is, and what the interval leaves out."""
        low, high = self.exponent_interval
        law = f"WER falls as hours ** -{self.exponent:.2f} ({low:.2f} to {high:.2f})"
        if low <= 0:
            law += ": whether more of this speech helps cannot be told"
        ahead = [
            f"{short(one.hours)} h: {percent(one.wer, 1)} expected ({interval(one.wer_interval)})"
            for one in self.expected[-len(AHEAD) :]
        ]
        caution = "a law through few points, led on beyond them"
        if all(point.seeds == 1 for point in self.points):
            caution += "; the intervals hold the luck of the scored utterances, not that of the training draw"
        return (f"{law}.", *(f"{line}." for line in ahead), f"Read it as a hint: {caution}.")

    def text(self) -> str:
        """Return the table, and what follows from it."""
        rows = [["share", "hours", "utterances", "runs", f"WER on {self.scored_on}", "95 % interval"]]
        if self.untuned_wer is not None:
            rows.append(["untuned", "0", "0", "", percent(self.untuned_wer), ""])
        for point in self.points:
            cells = [f"{point.share:.0%}", short(point.hours), count(point.utterances), str(point.seeds)]
            rows.append([*cells, percent(point.wer), interval(point.wer_interval)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, "", *self.sentences()])


@dataclass(frozen=True)
class FittedLaw:
    """`WER = factor * hours ** -exponent`, first exactly, then in every resample; shape `(1 + samples,)`."""

    log_factor: NDArray[np.float64]
    exponents: NDArray[np.float64]

    def at(self, hours: float) -> Expectation:
        """Return what the law expects of so many hours."""
        rates = np.exp(self.log_factor - self.exponents * np.log(hours))
        return Expectation(hours, float(rates[0]), percentile_interval(rates[1:]))

    @property
    def exponent(self) -> tuple[float, Interval]:
        """The exponent and its interval."""
        return float(self.exponents[0]), percentile_interval(self.exponents[1:])


def fit_power_law(hours: Sequence[float], rates: NDArray[np.float64]) -> FittedLaw:
    """Fit a power law to each row of rates, by least squares of the logarithms.

    Args:
        hours: Of each point; at least two different ones.
        rates: Shape `(1 + samples, points)`, the exact ones first.

    Example:
        >>> law = fit_power_law([1.0, 4.0], np.array([[0.2, 0.1], [0.2, 0.1]]))
        >>> round(law.exponent[0], 3), round(law.at(16.0).wer, 3)
        (0.5, 0.05)
    """
    x = np.log(np.asarray(hours))
    y = np.log(np.maximum(rates, LEAST_RATE))
    centred = x - x.mean()
    slopes = (y @ centred) / (centred @ centred)
    return FittedLaw(y.mean(axis=1) - slopes * x.mean(), -slopes)


def write_learning_curve_plot(curve: LearningCurve, path: Path) -> Path:
    """Draw what was measured and the law, in the format that the path's ending names."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    hours = [one.hours for one in curve.expected]
    low, high = ([100 * one.wer_interval[end] for one in curve.expected] for end in (0, 1))
    axes.fill_between(hours, low, high, color=MEASURED_COLOR, alpha=0.12, linewidth=0)
    expected = [100 * one.wer for one in curve.expected]
    axes.plot(hours, expected, color=MEASURED_COLOR, linestyle="--", label="power law, 95 %")
    at, rates = [point.hours for point in curve.points], [100 * point.wer for point in curve.points]
    around = [
        [abs(100 * point.wer_interval[end] - 100 * point.wer) for point in curve.points] for end in (0, 1)
    ]
    axes.errorbar(at, rates, yerr=around, color=MEASURED_COLOR, fmt="o", capsize=4, label="measured")
    if curve.untuned_wer is not None:
        axes.axhline(100 * curve.untuned_wer, color=QUIET, linewidth=1, linestyle=":", label="untuned")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda hours, _: f"{hours:g}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("hours of training speech", color=QUIET)
    axes.set_title(f"word error rate on {curve.scored_on}, %", fontsize=10, loc="left")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=QUIET)
    figure.savefig(path)
    return path
