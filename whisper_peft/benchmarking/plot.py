"""The comparison as one figure: speed, memory, and step time against audio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from whisper_peft.benchmarking.comparison import BenchmarkResult, Spread, TrainingComparison, fit_steps
from whisper_peft.reporting import figures

COLORS = {"reference": "#6b7280", "ours": "#1557b0"}
"""The report's colours of before and after."""

QUIET = "#545c69"


def write_plot(result: BenchmarkResult, path: Path) -> Path | None:
    """Draw what was compared, in the format that the path's ending names; nothing for log-mel alone."""
    panels = _panels(result)
    if not panels:
        return None
    figure = Figure(figsize=(4.4 * len(panels), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=QUIET)
    figure.savefig(path)
    return path


def _panels(result: BenchmarkResult) -> list[Any]:
    panels: list[Any] = []
    train, evaluate = result.train, result.evaluate
    if train is not None:
        speeds = {side: train.speed(side) for side in COLORS}
        panels.append(lambda axes: _bars(axes, "training: audio-seconds per second", speeds))
        memory = {side: _scaled(train.memory(side), 1 / figures.MIB) for side in COLORS}
        panels.append(lambda axes: _bars(axes, "training: peak memory above start, MiB", memory))
        panels.append(lambda axes: _steps(axes, train))
    if evaluate is not None:
        rates = {side: evaluate.speed(side) for side in COLORS}
        panels.append(lambda axes: _bars(axes, "transcribing: audio-seconds per second", rates))
    return panels


def _scaled(values: Spread, factor: float) -> Spread:
    return Spread(values.min * factor, values.median * factor, values.max * factor)


def _bars(axes: Any, title: str, spreads: dict[str, Spread]) -> None:
    """Draw the median of each side, with a whisker from the lowest to the highest round."""
    for place, (side, values) in enumerate(spreads.items()):
        whisker = [[values.median - values.min], [values.max - values.median]]
        axes.bar(place, values.median, color=COLORS[side], yerr=whisker, ecolor=QUIET, capsize=4, width=0.6)
        axes.annotate(figures.number(values.median), (place, values.max), ha="center", va="bottom")
    axes.set_xticks(range(len(spreads)), list(spreads))
    axes.set_title(title, fontsize=10, loc="left")
    axes.margins(y=0.15)


def _steps(axes: Any, train: TrainingComparison) -> None:
    """Draw our steps, and the line that fits them."""
    for run in train.ours:
        axes.scatter(run.step_audio_seconds, run.step_seconds, s=12, color=COLORS["ours"], alpha=0.6)
    fit = fit_steps(train.ours)
    longest = max(max(run.step_audio_seconds) for run in train.ours)
    if fit is not None:
        ends = [fit.intercept_s, fit.intercept_s + fit.slope * longest]
        axes.plot([0, longest], ends, color=QUIET, linewidth=1, label=f"r2 = {fit.r2:.3f}")
        axes.legend(frameon=False)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("audio seconds in the step", color=QUIET)
    axes.set_title("ours: seconds of a step", fontsize=10, loc="left")
