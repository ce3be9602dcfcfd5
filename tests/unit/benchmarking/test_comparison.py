import dataclasses
import json

import pytest

from whisper_peft.benchmarking.comparison import (
    AdapterScores,
    BenchmarkResult,
    LogMelComparison,
    TrainingComparison,
    TranscriptionComparison,
    fit_steps,
    refuse_unlike_work,
)
from whisper_peft.benchmarking.plot import write_plot
from whisper_peft.benchmarking.sides import SideTranscripts
from whisper_peft.benchmarking.summary_text import benchmark_text
from whisper_peft.errors import BenchmarkError

SCORES = AdapterScores(0.08, 0.075, -0.005, (-0.02, 0.01), 60, "english")


@pytest.fixture
def training(side_run):
    slow = [side_run(wall_seconds=seconds, memory_peak_bytes=1100) for seconds in (20.0, 40.0)]
    fast = [side_run(wall_seconds=seconds) for seconds in (5.0, 8.0)]
    return TrainingComparison(
        reference=tuple(slow),
        ours=tuple(fast),
        worker_trials={0: 2.0, 1: 2.5},
        flops=1e9,
        peaks={"reference": 1e9, "ours": 1e9},
        precisions={"reference": "fp32", "ours": "fp32"},
        scores={"full": SCORES},
    )


@pytest.fixture
def whole(training):
    heard = SideTranscripts(
        hypotheses=("a", "b"),
        audio_seconds=10.0,
        wall_seconds=2.0,
        memory_before_bytes=100,
        memory_peak_bytes=200,
        lifetime_peak_bytes=250,
    )
    return BenchmarkResult(
        train=training,
        evaluate=TranscriptionComparison((heard,), (dataclasses.replace(heard, wall_seconds=0.5),), SCORES),
        log_mel=LogMelComparison(16, (1.0, 1.2), (0.2, 0.3), 1e-6, 2e-6),
        meta={"cpu": "some", "rounds": 2},
        sentences=("train: all",),
    )


def test_ratios_compare_each_round_with_itself(training):
    assert dataclasses.astuple(training.speed_ratio) == (4.0, 4.5, 5.0)
    assert dataclasses.astuple(training.memory_ratio) == (0.2, 0.2, 0.2)


def test_the_useful_share_is_operations_a_second_over_the_peak(training):
    assert dataclasses.astuple(training.useful_share("ours")) == (0.125, 0.1625, 0.2)


def test_a_line_fits_the_steps_without_the_first(side_run):
    fit = fit_steps([side_run(step_seconds=(99.0, 1.0, 2.0, 3.0))])
    assert (fit.slope, fit.intercept_s, fit.r2) == pytest.approx((0.2, 0.0, 1.0), abs=1e-9)


def test_steps_of_one_length_have_no_fit(side_run):
    assert fit_steps([side_run(step_audio_seconds=(5.0,) * 4)]) is None


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"utterances": 31}, "utterances"),
        ({"target_tokens": 321}, "target tokens"),
        ({"step_seconds": (1.0,) * 5}, "optimiser steps"),
    ],
)
def test_sides_that_did_other_work_are_not_compared(side_run, fields, name):
    with pytest.raises(BenchmarkError, match=f"{name}: .* in the reference, .* in ours"):
        refuse_unlike_work(side_run(), side_run(**fields))


def test_steps_may_differ_by_a_twentieth(side_run):
    refuse_unlike_work(side_run(step_seconds=(1.0,) * 40), side_run(step_seconds=(1.0,) * 42))
    with pytest.raises(BenchmarkError):
        refuse_unlike_work(side_run(step_seconds=(1.0,) * 40), side_run(step_seconds=(1.0,) * 43))


def test_the_last_epoch_is_compared_alone(side_run):
    two = side_run(epochs=2)
    assert two.last_epoch_audio_seconds_per_second == pytest.approx(25 / 5)
    assert two.to_dict()["last_epoch_audio_seconds_per_second"] == pytest.approx(5.0)


def test_the_result_is_json_with_every_measure(whole):
    plain = json.loads(json.dumps(whole.to_dict()))
    assert plain.keys() == {"train", "evaluate", "log_mel", "sentences", "meta"}
    assert plain["train"].keys() == {
        "reference", "ours", "speed_ratio", "last_epoch_ratio", "memory_ratio", "useful_flops",
        "ours_step_fit", "reference_worker_trials", "wer",
    }  # fmt: skip
    for side in ("reference", "ours"):
        assert plain["train"][side].keys() == {
            "precision", "audio_seconds_per_second", "memory_bytes", "data_wait_share", "useful_flops_share",
            "matmul_peak_flops_per_second", "runs",
        }  # fmt: skip
    assert plain["train"]["speed_ratio"] == {"min": 4.0, "median": 4.5, "max": 5.0}
    assert plain["train"]["ours"]["runs"][0]["rows_per_step"] == 8
    assert plain["evaluate"]["speed_ratio"]["median"] == 4.0
    assert plain["log_mel"]["max_difference"] == 1e-6


def test_the_tables_show_counts_ratios_and_the_interval(whole):
    text = " ".join(benchmark_text(whole).split())
    assert "audio-seconds per second 1.5 (1 to 2) 6.5 (5 to 8) 4.5 (4 to 5)" in text
    assert "-0.50 points (-2.00 points to +1.00 points)" in text
    assert "log-mel: 4.5 (4 to 5) times" in text


def test_the_plot_is_a_picture_of_what_was_compared(whole, tmp_path):
    assert "<svg" in write_plot(whole, tmp_path / "all.svg").read_text()
    only_log_mel = dataclasses.replace(whole, train=None, evaluate=None)
    assert write_plot(only_log_mel, tmp_path / "none.svg") is None
