"""The views of a comparison: `comparison.json`, and Markdown and one self-contained page beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from whisper_peft.reporting import figures
from whisper_peft.reporting.pages.run_page import Figures
from whisper_peft.reporting.plots.scatter_plots import ScatterPlot, ScatterPoint, compact, scatter_plot
from whisper_peft.reporting.run_report import write_text
from whisper_peft.reporting.values.comparison_values import ComparedRun, Comparison, Pair

COMPARISON_FILE = "comparison.json"
COMPARISON_MARKDOWN = "comparison.md"
COMPARISON_PAGE = "comparison.html"

MINUTE = 60

COSTS: tuple[tuple[str, str, Callable[[ComparedRun], float], Callable[[float], str]], ...] = (
    ("WER by weights that learn", "weights", lambda run: run.trainable_parameters, compact),
    ("WER by time of training", "minutes of training", lambda run: run.train_seconds / MINUTE, figures.short),
    ("WER by peak memory", "GiB at most", lambda run: run.peak_memory_bytes / figures.GIB, figures.short),
)
"""Plots: title, name of the axis, what a run took, how the axis prints that."""


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write all three files into a folder; return the page.

    Raises:
        StorageError: If the folder is full or not writable.
    """
    plain = json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False)
    write_text(folder / COMPARISON_FILE, plain + "\n")
    write_text(folder / COMPARISON_MARKDOWN, comparison.markdown())
    return write_text(folder / COMPARISON_PAGE, render_comparison(comparison))


def render_comparison(comparison: Comparison) -> str:
    """Return the page as HTML; every text in it is escaped."""
    templates = Environment(
        loader=PackageLoader("whisper_peft.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plain = json.loads(json.dumps(comparison.to_dict()))
    return templates.get_template("comparison.html").render(
        comparison=comparison,
        figure=Figures(plain),
        form=figures,
        plots=plots(comparison),
        cell=lambda row, column: _seen(comparison, row, column),
        path_of=lambda row, column: _path(comparison, row, column),
        signed=signed,
        unsigned=unsigned,
    )


def plots(comparison: Comparison) -> tuple[ScatterPlot, ...]:
    """Return the WER against each cost."""
    return tuple(
        scatter_plot(
            title,
            below,
            [
                ScatterPoint(number, run.name, cost(run), run.after.wer, run.after.wer_interval)
                for number, run in enumerate(comparison.runs, 1)
            ],
            print_cost,
        )
        for title, below, cost, print_cost in COSTS
    )


def signed(fraction: float) -> str:
    """Print a difference of rates in points, without saying so.

    Example:
        >>> signed(-0.018)
        '-1.80'
    """
    return f"{100 * fraction:+.2f}"


def unsigned(fraction: float) -> str:
    """Print a rate in percent, without saying so.

    Example:
        >>> unsigned(0.1821)
        '18.21'
    """
    return f"{100 * fraction:.2f}"


def _seen(comparison: Comparison, row: ComparedRun, column: ComparedRun) -> Pair | None:
    """Return the pair of two runs, the row's WER minus the column's; None of a run with itself."""
    found = {pair.second: pair for pair in comparison.beside(column.name)}
    return found.get(row.name)


def _path(comparison: Comparison, row: ComparedRun, column: ComparedRun) -> str | None:
    """Return where a cell stands in the JSON; None where it is another one, seen from the other run."""
    places = {(pair.first, pair.second): place for place, pair in enumerate(comparison.pairs)}
    place = places.get((column.name, row.name))
    return None if place is None else f"pairs.{place}"
