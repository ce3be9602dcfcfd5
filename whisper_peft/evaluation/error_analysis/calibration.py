"""Whether a model is as sure as it is right: confidence beside the share of words that are right.

Confidence is the probability of a token, as their geometric mean over the transcript. It is of tokens and not
of words, and the best that greedy search gives for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from whisper_peft.evaluation.error_analysis.groups import word_errors
from whisper_peft.evaluation.error_analysis.rates import Resampling, Tally, rate_of
from whisper_peft.evaluation.error_analysis.values import Calibration, ConfidenceBin
from whisper_peft.types import Prediction

BOUNDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)
"""Bounds of the bins; most transcripts lie above 0.8."""


def confidence(prediction: Prediction) -> float | None:
    """Return how sure the model was of a transcript, between 0 and 1; None where it was not measured.

    Example:
        >>> row = Prediction("a", "", "", 1.0, 0.0, 0, 0, 0, 0, mean_log_probability=-0.25)
        >>> round(confidence(row), 3)
        0.779
    """
    measured = prediction.mean_log_probability
    return None if measured is None else math.exp(measured)


def calibration(predictions: Sequence[Prediction], resampling: Resampling) -> Calibration | None:
    """Return the reliability of confidence; None where none was measured."""
    sure = [(sureness, one) for one in predictions if (sureness := confidence(one)) is not None]
    bins = tuple(_bins(sure, resampling))
    words = sum(one.words for one in bins)
    if not words:
        return None
    return Calibration(sum(one.words * abs(one.right.value - one.confidence) for one in bins) / words, bins)


def _bins(sure: Sequence[tuple[float, Prediction]], resampling: Resampling) -> Iterator[ConfidenceBin]:
    for low, high in pairwise(BOUNDS):
        inside = [(s, one) for s, one in sure if low <= s < high or (high == BOUNDS[-1] and s >= high)]
        wrong = Tally.of(word_errors(one) for _, one in inside)
        right = Tally.of((one.hits, _written(one)) for _, one in inside)
        words = int(right.units.sum())
        if not (words and wrong.units.sum()):
            continue
        yield ConfidenceBin(
            f"{low:g} to {high:g}",
            len(inside),
            words,
            confidence=float(np.average([sureness for sureness, _ in inside], weights=right.units)),
            right=rate_of(right, resampling),
            wer=rate_of(wrong, resampling),
        )


def _written(prediction: Prediction) -> int:
    """Return the words of a transcript."""
    return prediction.hits + prediction.substitutions + prediction.insertions
