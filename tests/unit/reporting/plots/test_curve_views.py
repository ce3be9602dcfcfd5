"""Plots and table of the curves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

from whisper_peft.reporting.json_lines import read_curves
from whisper_peft.reporting.plots.curve_views import curve_plots, curve_rows
from whisper_peft.reporting.run_report import RunReport, read_report
from whisper_peft.reporting.values.curve_values import MOST_POINTS, TrainingCurves, curve_of


def report_with(curves: TrainingCurves, folder: Path) -> RunReport:
    return read_report(folder).model_copy(update={"curves": curves, "evaluation": None})


def test_memory_and_data_wait_are_shown_over_the_time(run_folder: Path) -> None:
    titles = {plot.title: plot for plot in curve_plots(read_report(run_folder))}
    assert {name for name, plot in titles.items() if plot.below == "seconds of training"} == {
        "Memory",
        "Data wait",
    }
    assert "Memory over training time. Memory: 1.4 GiB at 1.6 seconds" in titles["Memory"].description
    assert titles["Loss"].below == "step"
    assert [tick.label for tick in titles["Memory"].y_ticks] == ["0 GiB", "0.5 GiB", "1 GiB", "1.5 GiB"]


def test_a_long_run_counts_its_time_in_hours(run_folder: Path) -> None:
    steps = range(1, 1001)
    timed = {
        "loss": curve_of(steps, [1.0] * 1000),
        "memory_bytes": curve_of(steps, [2.0**30] * 1000),
        "elapsed_s": curve_of(steps, [step * 20.0 for step in steps]),
    }
    plots = {plot.title: plot for plot in curve_plots(report_with(TrainingCurves(timed), run_folder))}
    assert plots["Memory"].below == "hours of training"
    assert plots["Memory"].x_ticks[-1].label == "4"


def test_one_wild_gradient_does_not_flatten_the_others(run_folder: Path) -> None:
    norms = [1.0] * 50 + [80.0]
    curves = TrainingCurves({"loss": curve_of(range(51), norms), "grad_norm": curve_of(range(51), norms)})
    loss, gradient = curve_plots(report_with(curves, run_folder))
    assert (loss.is_log, gradient.is_log) == (False, True)
    assert gradient.drawings[0].dots == ()
    assert [tick.label for tick in gradient.y_ticks] == ["1", "2", "5", "10", "20", "50", "100"]


def test_numbers_of_a_callback_are_drawn_under_their_names(run_folder: Path) -> None:
    curves = TrainingCurves({name: curve_of([1, 2], [1.0, 7.0]) for name in ("loss", "mine")})
    assert [plot.title for plot in curve_plots(report_with(curves, run_folder))] == ["Loss", "mine"]


def test_a_stretch_of_many_steps_is_a_band_from_lowest_to_highest(run_folder: Path) -> None:
    values = [float(step % 10) for step in range(MOST_POINTS * 10)]
    curve = curve_of(range(1, len(values) + 1), values)
    assert set(curve.low) == {0.0}
    assert set(curve.high) == {9.0}
    assert set(curve.values) == {4.5}
    (plot,) = curve_plots(report_with(TrainingCurves({"loss": curve}), run_folder))
    assert plot.drawings[0].band.startswith("M")
    assert plot.drawings[0].band.count("L") == 2 * MOST_POINTS - 1


def test_the_table_has_every_curve_that_is_drawn(run_folder: Path) -> None:
    report = read_report(run_folder)
    rows = {row.title: row for row in curve_rows(report)}
    drawn = {plot.title for plot in curve_plots(report)}
    assert set(rows) == drawn - {"WER"} | {"WER while training", "CER while training"}
    assert rows["Loss"].path == "curves.training.loss"


def test_curves_survive_the_report(make_run: Callable[..., Path]) -> None:
    broken = TrainingCurves({"loss": curve_of([1, 2, 3], [math.nan, 1.0, math.inf])}, notes=("a note",))
    found = read_report(make_run(curves=broken)).curves
    assert dataclasses.replace(found.training["loss"], values=(), first=0.0, last=0.0) == dataclasses.replace(
        broken.training["loss"], values=(), first=0.0, last=0.0
    )
    assert math.isnan(found.training["loss"].first)
    assert found.training["loss"].last == math.inf
    assert found.notes == ("a note",)


def test_the_log_of_a_long_run_makes_short_curves(tmp_path: Path) -> None:
    with (tmp_path / "log.jsonl").open("w") as log:
        for step in range(1, 100_001):
            log.write(f'{{"step": {step}, "loss": {1 + (step == 77_777)}, "grad_norm": 2.0}}\n')
    curves = read_curves(tmp_path)
    assert curves.training["loss"].rows == 100_000
    assert len(curves.training["loss"].steps) <= MOST_POINTS
    assert (curves.training["loss"].highest, curves.training["loss"].highest_step) == (2.0, 77_777)
