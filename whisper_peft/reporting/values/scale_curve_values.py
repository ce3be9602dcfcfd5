"""What an adapter wins and costs at each scale of its update, and which scale that speaks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from whisper_peft.reporting.figures import interval, percent, utterances

TARGET_COLOR, RETENTION_COLOR, QUIET = "#1557b0", "#6b7280", "#545c69"
"""The report's colours."""


@dataclass(frozen=True, slots=True)
class ScalePoint:
    """Word error rates at one scale, as fractions, with 95 % intervals; retention None: not measured."""

    scale: float
    wer: float
    wer_interval: tuple[float, float]
    retention_wer: float | None = None
    retention_interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class ScaleCurve:
    """Target and retention WER over scales.

    Attributes:
        run: The run or adapter.
        target: Name of the speech that it was tuned for.
        utterances: How many of it were scored.
        retention: Name of the speech that it should still understand. None: not measured.
        retention_utterances: How many of that were scored.
        points: One for each scale, from the smallest.
        tolerance: How much the retention WER may rise above the base's, as a fraction.
    """

    run: str
    target: str
    utterances: int
    retention: str | None
    retention_utterances: int
    points: tuple[ScalePoint, ...]
    tolerance: float = 0.005

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form, with what is recommended."""
        best = self.best()
        return {**asdict(self), "recommended_scale": best.scale, "recommendation": self.recommendation()}

    def best(self) -> ScalePoint:
        """Return the point with the lowest target WER whose retention WER is within the tolerance."""
        return min(self._affordable(), key=lambda point: (point.wer, point.scale))

    def recommendation(self) -> str:
        """Return one sentence that names the scale, what it wins and costs, and how sure that is.

        Example:
            >>> points = (
            ...     ScalePoint(0.0, 0.20, (0.15, 0.25), 0.10, (0.08, 0.12)),
            ...     ScalePoint(0.5, 0.14, (0.10, 0.18), 0.10, (0.08, 0.12)),
            ...     ScalePoint(1.0, 0.12, (0.08, 0.16), 0.15, (0.12, 0.18)),
            ... )
            >>> ScaleCurve("run", "fr", 49, "en", 16, points).recommendation().partition(":")[0]
            'Use a scale of 0.5'
        """
        best = self.best()
        unclear = [
            f"{point.scale:g}"
            for point in self.points
            if point is not best and best.wer_interval[0] <= point.wer <= best.wer_interval[1]
        ]
        doubt = f"; {', '.join(unclear)} lie within its 95 % interval" if unclear else ""
        return f"Use a scale of {best.scale:g}: {self._told(best)}, {self._reason()}{doubt}."

    def text(self) -> str:
        """Return the table, and the recommendation below it."""
        heads = [f"WER on {self.target} ({utterances(self.utterances)})"]
        if self.retention is not None:
            heads.append(f"WER on {self.retention} ({utterances(self.retention_utterances)})")
        rows = [["scale", *heads], *([f"{point.scale:g}", *_cells(point)] for point in self.points)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        return "\n".join([*lines, "", self.recommendation()])

    def _affordable(self) -> list[ScalePoint]:
        base = self._at(0.0)
        if base is None or base.retention_wer is None:
            return list(self.points)
        most = base.retention_wer + self.tolerance
        return [point for point in self.points if (point.retention_wer or 0.0) <= most]

    def _reason(self) -> str:
        lowest = "the lowest WER that was measured"
        base = self._at(0.0)
        if self.retention is None or base is None:
            return lowest
        most = f"{100 * self.tolerance:g} points above the base's"
        return f"{lowest} where that on {self.retention} is at most {most}"

    def _told(self, best: ScalePoint) -> str:
        kinds = ("wer",) if self.retention is None else ("wer", "retention_wer")
        return " and ".join(self._one(best, kind) for kind in kinds)

    def _one(self, best: ScalePoint, which: str) -> str:
        name = self.target if which == "wer" else self.retention
        others = {"base": self._at(0.0), "whole adapter": self._at(1.0)}
        beside = ", ".join(
            f"{told} {percent(getattr(point, which))}"
            for told, point in others.items()
            if point is not None and point is not best
        )
        return f"WER {percent(getattr(best, which))} on {name}" + (f" ({beside})" if beside else "")

    def _at(self, scale: float) -> ScalePoint | None:
        return next((point for point in self.points if point.scale == scale), None)


def _cells(point: ScalePoint) -> Iterator[str]:
    yield f"{percent(point.wer)} ({interval(point.wer_interval)})"
    if point.retention_wer is not None and point.retention_interval is not None:
        yield f"{percent(point.retention_wer)} ({interval(point.retention_interval)})"


def write_scale_plot(curve: ScaleCurve, path: Path) -> Path:
    """Draw both rates over the scale, with their intervals, in the format that the path's ending names."""
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    scales = [point.scale for point in curve.points]
    _draw(axes, scales, [(p.wer, p.wer_interval) for p in curve.points], curve.target, TARGET_COLOR)
    kept = [(p.retention_wer, p.retention_interval) for p in curve.points]
    if curve.retention is not None:
        _draw(axes, scales, kept, curve.retention, RETENTION_COLOR)
    axes.axvline(curve.best().scale, color=QUIET, linewidth=1, linestyle=":")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("scale of the adapter's update (dotted: recommended)", color=QUIET)
    axes.set_title("word error rate, %", fontsize=10, loc="left")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=QUIET)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _draw(axes: Any, scales: list[float], rates: list[Any], name: str, color: str) -> None:
    low = [100 * bounds[0] for _, bounds in rates]
    high = [100 * bounds[1] for _, bounds in rates]
    axes.plot(scales, [100 * rate for rate, _ in rates], color=color, marker="o", label=name)
    axes.fill_between(scales, low, high, color=color, alpha=0.12, linewidth=0)
