"""What learning curves, scale curves and searches say of their runs: numbers in, words and plots out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from whisper_peft.reporting.values.learning_curve_values import (
    Expectation,
    LearningCurve,
    LearningPoint,
    fit_power_law,
    write_learning_curve_plot,
)
from whisper_peft.reporting.values.scale_curve_values import ScaleCurve, ScalePoint, write_scale_plot
from whisper_peft.reporting.values.search_values import SearchResult, SearchTrial

CURVE = LearningCurve(
    recipe="mine",
    scored_on="test (100)",
    untuned_wer=0.3,
    points=(
        LearningPoint(0.1, 1.0, 500, 1, 0.2, (0.18, 0.22)),
        LearningPoint(1.0, 10.0, 5000, 1, 0.1, (0.09, 0.11)),
    ),
    exponent=0.30,
    exponent_interval=(0.2, 0.4),
    expected=tuple(Expectation(hours, 0.1, (0.05, 0.15)) for hours in (1.0, 10.0, 20.0, 40.0, 100.0)),
    folder="runs/curve",
)


def test_a_learning_curve_has_a_row_for_each_share_and_looks_ahead() -> None:
    lines = CURVE.text().splitlines()
    assert lines[0].split()[:4] == ["share", "hours", "utterances", "runs"]
    assert [line.split()[0] for line in lines[1:4]] == ["untuned", "10%", "100%"]
    assert "20.00 %" in lines[2]
    assert [line.partition(" h:")[0] for line in lines if "expected" in line] == ["20", "40", "100"]
    assert "WER falls as hours ** -0.30 (0.20 to 0.40)." in lines


def test_a_curve_that_may_be_flat_says_so_and_one_seed_is_told() -> None:
    first, *_, last = replace(CURVE, exponent_interval=(-0.1, 0.4)).sentences()
    assert "whether more of this speech helps cannot be told" in first
    assert "not that of the training draw" in last
    twice = tuple(replace(point, seeds=2) for point in CURVE.points)
    assert "not that of the training draw" not in replace(CURVE, points=twice).sentences()[-1]


def test_a_learning_curve_is_json_with_its_sentences() -> None:
    plain = json.loads(json.dumps(CURVE.to_dict()))
    assert plain["points"][1]["wer"] == 0.1
    assert plain["sentences"] == list(CURVE.sentences())


def test_the_law_goes_through_what_follows_it_and_its_interval_through_the_resamples() -> None:
    hours = [1.0, 2.0, 8.0]
    rates = np.array([[0.3 * h**-0.4 for h in hours], *([0.3 * h**-k for h in hours] for k in (0.2, 0.6))])
    law = fit_power_law(hours, rates)
    exponent, (low, high) = law.exponent
    assert abs(exponent - 0.4) < 1e-9
    assert 0.2 <= low < 0.4 < high <= 0.6
    assert abs(law.at(100.0).wer - 0.3 * 100**-0.4) < 1e-9


def test_a_learning_curve_is_drawn(tmp_path: Path) -> None:
    text = write_learning_curve_plot(CURVE, tmp_path / "curve.svg").read_text(encoding="utf-8")
    assert text.lstrip().startswith("<?xml")
    untuned = replace(CURVE, untuned_wer=None)
    assert len(write_learning_curve_plot(untuned, tmp_path / "less.svg").read_text()) < len(text)


POINTS = (
    ScalePoint(0.0, 0.20, (0.15, 0.25), 0.10, (0.08, 0.12)),
    ScalePoint(0.5, 0.14, (0.10, 0.18), 0.10, (0.08, 0.12)),
    ScalePoint(1.0, 0.12, (0.08, 0.16), 0.15, (0.12, 0.18)),
)
SCALES = ScaleCurve("run", "fr", 49, "en", 16, POINTS)


def test_the_lowest_rate_is_recommended_among_scales_that_forget_little() -> None:
    assert SCALES.best().scale == 0.5
    assert replace(SCALES, tolerance=0.06).best().scale == 1.0
    said = SCALES.recommendation()
    assert "WER 14.00 % on fr (base 20.00 %, whole adapter 12.00 %)" in said
    assert "at most 0.5 points above the base's" in said
    assert "; 1 lie within its 95 % interval" in said


def test_without_other_speech_the_lowest_rate_is_recommended() -> None:
    alone = ScaleCurve(
        "run", "fr", 49, None, 0, tuple(ScalePoint(p.scale, p.wer, p.wer_interval) for p in POINTS)
    )
    assert alone.best().scale == 1.0
    assert "the lowest WER that was measured" in alone.recommendation()
    assert len(alone.text().splitlines()[0].split("WER on")) == 2


def test_a_scale_curve_has_a_row_for_each_scale_and_is_json() -> None:
    lines = SCALES.text().splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["scale", "0", "0.5", "1"]
    assert lines[-1] == SCALES.recommendation()
    assert json.loads(json.dumps(SCALES.to_dict()))["recommended_scale"] == 0.5


def test_a_scale_curve_is_drawn_with_a_line_for_each_speech(tmp_path: Path) -> None:
    path = write_scale_plot(SCALES, tmp_path / "made" / "curve.png")
    assert path.read_bytes().startswith(b"\x89PNG")


TRIALS = (
    SearchTrial(0, "finished", 0.12, (0.10, 0.14), {"rank": 8, "learning_rate": 1e-3}, "t0"),
    SearchTrial(1, "diverged", None, None, {"rank": 64, "learning_rate": 1e-2}, "t1"),
    SearchTrial(2, "finished", 0.11, (0.09, 0.13), {"rank": 32, "learning_rate": 3e-4}, "t2"),
    SearchTrial(3, "pruned", 0.20, None, {"rank": 4}, "t3"),
)
SEARCH = SearchResult("mine", "held-out speakers", TRIALS, TRIALS[2], "best.yaml", "runs/search")


def test_trials_are_ranked_and_those_that_did_not_finish_come_last() -> None:
    lines = SEARCH.text().splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["2", "0", "3", "1"]
    assert lines[3].endswith("pruned")
    assert lines[4].endswith("diverged")
    assert lines[-1] == "best.yaml"


def test_the_sentence_names_the_winner_and_who_is_not_told_from_it() -> None:
    said = SEARCH.sentence()
    assert said.startswith("Trial 2 has the lowest WER of the held-out rows, 11.00 %")
    assert "rank 32, learning_rate 0.0003. 1 other trials lie within that interval" in said
    assert json.loads(json.dumps(SEARCH.to_dict()))["sentence"] == said
    assert replace(SEARCH, best=TRIALS[1]).sentence() == "No trial was scored."
