"""A learning curve: parts within parts, a fit that finds a known law, and runs that are not run twice."""

from __future__ import annotations

import json

import numpy as np
import pytest

from whisper_peft import Recipe, learning_curve
from whisper_peft.errors import RecipeError, StorageError
from whisper_peft.pipeline.comparing import learning_curves
from whisper_peft.pipeline.comparing.learning_curves import CurveRun, curve_of
from whisper_peft.pipeline.runs import restoring
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.reporting.run_report import (
    DataRecord,
    EvaluationRecord,
    RunRecord,
    RunReport,
    environment_meta,
)
from whisper_peft.reporting.values.learning_curve_values import fit_power_law

FIELDS = {
    "name": "curve",
    "model": {"name": "openai/whisper-tiny.en", "device": "cpu"},
    "data": {"source": "tests/data/prompts/en", "train": "train", "eval": "test"},
    "adapter": {"r": 4},
    "train": {"max_steps": 2, "batch_size": 2, "workers": 0, "tensorboard": False},
    "eval": {"max_utterances": 4, "audio_context": "cut", "health": "off"},
}


def measured(share, rate, *, utterances=400, seed=0):
    """Return a run that made errors at a rate, on the same utterances each time."""
    words = np.full(utterances, 20)
    errors = np.random.default_rng(seed).binomial(words, rate)
    report = RunReport(
        run=RunRecord(name="x", folder="x", command="", started_at=""),
        data=DataRecord(source="x", hours=10 * share, utterances=round(1000 * share)),
        evaluation=EvaluationRecord(scored_split="test"),
        meta=environment_meta(0),
    )
    names = tuple(str(n) for n in range(utterances))
    return CurveRun(share, report, errors.astype(np.int64), words, names)


def test_a_known_law_is_found_and_led_on(tmp_path):
    runs = [measured(share, 0.1 * share**-0.3, seed=n) for n, share in enumerate((0.1, 0.3, 1.0))]
    curve = curve_of(runs, "x", tmp_path)
    assert curve.exponent == pytest.approx(0.3, abs=0.05)
    low, high = curve.exponent_interval
    assert low < 0.3 < high
    last = curve.expected[-1]
    assert last.hours == pytest.approx(100)
    assert last.wer_interval[0] < 0.1 * 10**-0.3 < last.wer_interval[1]
    assert [point.hours for point in curve.points] == [1, 3, 10]


def test_what_gains_nothing_is_said_to_be_uncertain(tmp_path):
    runs = [measured(share, 0.1, seed=n, utterances=60) for n, share in enumerate((0.1, 0.3, 1.0))]
    assert "cannot be told" in curve_of(runs, "x", tmp_path).sentences()[0]


def test_several_seeds_widen_the_interval_by_what_they_differ(tmp_path):
    def width(rates):
        runs = [measured(0.1, 0.2)] + [measured(1.0, rate, seed=1) for rate in rates]
        low, high = curve_of(runs, "x", tmp_path).points[-1].wer_interval
        return high - low

    assert width((0.05, 0.15)) > 1.5 * width((0.1, 0.1))


def test_the_fit_is_exact_for_two_points():
    law = fit_power_law([1.0, 4.0], np.array([[0.2, 0.1], [0.4, 0.1]]))
    assert law.exponents.tolist() == pytest.approx([0.5, 1.0])


def test_runs_on_other_utterances_are_refused(tmp_path):
    with pytest.raises(StorageError, match="other utterances"):
        curve_of([measured(0.1, 0.1), measured(1.0, 0.1, utterances=9)], "x", tmp_path)


@pytest.mark.parametrize(("shares", "said"), [((1.0,), "1 share was"), ((0.1, 1.5), "share 1.5 was")])
def test_shares_that_make_no_curve_are_refused(shares, said):
    with pytest.raises(RecipeError, match=said):
        learning_curve(Recipe(), shares=shares)


@pytest.mark.slow
def test_a_curve_on_real_speech_goes_on_without_running_twice(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    heard, listen = [], restoring.generate_transcripts

    def counted(whisper, waveforms, **told):
        heard.extend(waveforms)
        return listen(whisper, waveforms, **told)

    monkeypatch.setattr(restoring, "generate_transcripts", counted)
    recipe = apply_overrides(Recipe(), FIELDS | {"data.text_case": "restore", "train.batch_size": 12})
    curve = learning_curve(recipe, shares=(0.3, 1.0), output_dir=tmp_path / "curve")
    assert len(heard) == 24
    assert [point.utterances for point in curve.points] == [8, 24]
    assert curve.untuned_wer is not None
    assert (tmp_path / "curve/learning_curve.svg").read_text().startswith("<?xml")
    written = json.loads((tmp_path / "curve/learning_curve.json").read_text())
    assert written == json.loads(json.dumps(curve.to_dict()))

    def refuse(*_, **__):
        raise AssertionError("a finished run was run again")

    monkeypatch.setattr(learning_curves, "finetune", refuse)
    assert learning_curve(recipe, shares=(0.3, 1.0), output_dir=tmp_path / "curve") == curve
    other = apply_overrides(recipe, {"train.learning_rate": 1e-5})
    with pytest.raises(StorageError, match=r"other train\.learning_rate"):
        learning_curve(other, shares=(0.3, 1.0), output_dir=tmp_path / "curve")
