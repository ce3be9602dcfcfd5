"""Metrics that `evaluate` loads without the Hub."""

from pathlib import Path

import evaluate
import pytest

import whisper_peft.evaluation.metrics as metrics
from whisper_peft.errors import EvaluationError

FOLDER = Path(metrics.__file__).parent


def test_metrics_load_by_name_without_network():
    assert metrics.load_metric("wer").compute(predictions=["a b"], references=["a c"]) == 0.5
    assert metrics.load_metric("cer").compute(predictions=["ab"], references=["abcd"]) == 0.5


@pytest.mark.parametrize("path", ["wer", "wer/wer.py", "cer", "cer/cer.py"])
def test_evaluate_loads_the_folder_and_the_script(path):
    metric = evaluate.load(str(FOLDER / path))
    assert metric.compute(predictions=["Ja!"], references=["ja"], language="de") == 0.0
    assert metric.compute(predictions=["Ja!"], references=["ja"], normalizer="none") > 0


def test_batches_add_up_to_one_corpus():
    metric = metrics.load_metric("wer")
    metric.add_batch(predictions=["a b c"], references=["a b c"])
    metric.add_batch(predictions=["x"], references=["d"])
    assert metric.compute() == 0.25


def test_unknown_metric_suggests_the_nearest():
    with pytest.raises(EvaluationError, match="did you mean wer"):
        metrics.load_metric("werr")
