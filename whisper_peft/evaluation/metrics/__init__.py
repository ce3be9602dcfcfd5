"""Word and character error rate as `evaluate.Metric` modules that load without the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import evaluate

from whisper_peft.errors import EvaluationError, did_you_mean

METRICS = Path(__file__).parent


def load_metric(name: str) -> evaluate.Metric:
    """Return the packaged metric `wer` or `cer`, as `evaluate.load` does, but offline.

    `compute` takes `predictions` and `references`, and the `normalizer` and `language` of
    `whisper_peft.evaluation.normalizers.get_normalizer`; it returns a fraction.

    Raises:
        EvaluationError: If there is no metric of that name.

    Example:
        >>> wer = load_metric("wer")
        >>> wer.compute(predictions=["he'll go"], references=["He will go."], normalizer="english")
        0.0
    """
    known = [script.stem for script in METRICS.glob("*/*.py") if script.stem == script.parent.name]
    if name not in known:
        raise EvaluationError(f"metric {name!r}", "no such metric", did_you_mean(name, known))
    return cast(evaluate.Metric, evaluate.load(str(METRICS / name), keep_in_memory=True))
