"""The bootstrap over utterances: how far rates of a corpus would be off by the luck of its draw.

Bisani and Ney, 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

INTERVAL_PERCENTILES = (2.5, 97.5)
"""Both ends of the 95 % interval."""

DRAWN_AT_A_TIME = 2**20
"""Utterances drawn at a time, which bounds the memory: some 30 MB."""


def resampled_rates(
    errors: NDArray[np.int64], lengths: NDArray[np.int64], samples: int, seed: int
) -> NDArray[np.float64]:
    """Return the corpus rates of resampled utterances, shape `(samples, systems)`.

    Each resample draws the same utterances for all systems, so that what is hard for all cancels out in
    differences. A resample without any reference length is counted as one unit long.

    Args:
        errors: Of each system and utterance, shape `(systems, utterances)`.
        lengths: What the errors are counted against, of the same shape.
        samples: Resamples.
        seed: Seed of the draws.

    Example:
        >>> errors, lengths = np.array([[1, 1], [0, 0]]), np.array([[4, 4], [4, 4]])
        >>> resampled_rates(errors, lengths, samples=2, seed=0).tolist()
        [[0.25, 0.0], [0.25, 0.0]]
    """
    rng = np.random.default_rng(seed)
    systems, utterances = errors.shape
    rates = np.empty((samples, systems))
    at_a_time = max(DRAWN_AT_A_TIME // max(utterances, 1), 1)
    for start in range(0, samples, at_a_time):
        block = slice(start, min(start + at_a_time, samples))
        drawn = rng.integers(utterances, size=(block.stop - block.start, utterances))
        for system in range(systems):
            summed = errors[system][drawn].sum(axis=1)
            rates[block, system] = summed / np.maximum(lengths[system][drawn].sum(axis=1), 1)
    return rates


def percentile_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of resampled values.

    Example:
        >>> percentile_interval(np.arange(1001) / 1000)
        (0.025, 0.975)
    """
    low, high = np.percentile(values, INTERVAL_PERCENTILES)
    return float(low), float(high)
