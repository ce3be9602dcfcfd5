"""A page of a run of which only one of two models was scored, and of one that was scored at cut context."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.reporting.pages.page_sections import paths_equal_to_the_report, section, visible
from whisper_peft.reporting.pages.model_card import write_model_card
from whisper_peft.reporting.plots.curve_views import curve_plots
from whisper_peft.reporting.run_report import read_report
from whisper_peft.reporting.values.curve_values import TrainingCurves, curve_of
from whisper_peft.reporting.verdict import short_context


@pytest.fixture
def folder(run_folder: Path, make_run: Callable[..., Path]) -> Path:
    """Return a run whose untuned model was not scored, and that was not scored while training."""
    report = read_report(run_folder)
    alone = {"before": None, "difference_interval": None}
    curves = TrainingCurves({"loss": report.curves.training["loss"]})
    folder = make_run(evaluation=report.evaluation.model_copy(update=alone), curves=curves)
    predictions = folder / "predictions.jsonl"
    kept = [line for line in predictions.read_text().splitlines() if json.loads(line)["when"] == "after"]
    predictions.write_text("\n".join(kept), encoding="utf-8")
    return folder


def test_one_interval_is_not_called_both(folder: Path, make_run: Callable[..., Path]) -> None:
    assert "The bar shows the interval on an axis from 0 to" in visible(section(folder, "outcome"))
    assert "both intervals" not in section(folder, "outcome")
    assert "The bars show both intervals on one axis, from 0 to" in visible(section(make_run(), "outcome"))


def test_confusions_of_one_model_are_not_called_together(folder: Path, make_run: Callable[..., Path]) -> None:
    assert "The commonest after training, in words" in visible(section(folder, "confusions"))
    both = "The commonest before and after training together, in words"
    assert both in visible(section(make_run(), "confusions"))


def test_one_score_makes_no_plot(folder: Path) -> None:
    report = read_report(folder)
    assert [plot.title for plot in curve_plots(report)] == ["Loss"]
    assert f"{report.evaluation.after.wer * 100:.2f} %" in visible(section(folder, "outcome"))


def test_a_run_of_one_step_has_its_curves_in_numbers_alone(folder: Path) -> None:
    one = TrainingCurves({"loss": curve_of([1], [1.0])}, {"eval_wer": curve_of([1], [0.2])})
    assert curve_plots(read_report(folder).model_copy(update={"evaluation": None, "curves": one})) == ()


def test_the_score_at_cut_context_has_its_interval_on_the_page(
    run_folder: Path, make_run: Callable[..., Path]
) -> None:
    evaluation = read_report(run_folder).evaluation
    cut = replace(evaluation.after, wer=0.2, wer_interval=(0.057, 0.447), rtfx=15.0, looping=2)
    folder = make_run(evaluation=evaluation.model_copy(update={"after_short": cut}))
    outcome = section(folder, "outcome")
    paths = {path for path in paths_equal_to_the_report(outcome, folder) if "after_short" in path}
    names = ("wer", "wer_interval.0", "wer_interval.1", "rtfx", "looping")
    assert paths == {f"evaluation.after_short.{name}" for name in names}
    told = short_context(read_report(folder).evaluation)
    bounds = "The 95 % interval of that WER is 5.70 % to 44.70 %."
    sentence = f"Heard only as long as the speech lasts, instead of 30 s: {told}. {bounds}"
    assert sentence in visible(outcome)
    card = write_model_card(read_report(folder).to_dict(), folder).read_text(encoding="utf-8")
    assert sentence in card.replace("\\", "")
