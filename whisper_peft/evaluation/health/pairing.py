"""Figures of the same items before and after, with the interval of their change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from whisper_peft.evaluation.error_analysis.groups import word_errors
from whisper_peft.evaluation.error_analysis.rates import Tally
from whisper_peft.evaluation.health.evidence import Pair
from whisper_peft.evaluation.health.values import Figure, Unit
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.resampling import percentile_interval, resampled_rates
from whisper_peft.evaluation.scoring import align_characters

Item = TypeVar("Item")

SAMPLES = 1000
"""Resamples behind each interval."""

MILLISECONDS = 1000
"""Durations are resampled in whole milliseconds, and"""

PER_MILLE = 1000
"""probabilities in whole thousandths."""


def figure_of(
    name: str,
    tallies: Sequence[Tally],
    counted: str,
    *,
    unit: Unit = "share",
    scale: float = 1,
) -> Figure:
    """Return the rates of two tallies of the same items, with the interval of the change.

    Args:
        name: What they are of.
        tallies: Of the untuned and of the tuned model.
        counted: What the items are.
        unit: What the rate is.
        scale: What the rate is divided by.

    Example:
        >>> one = figure_of("WER", [Tally.of([(2, 4)] * 3), Tally.of([(1, 4)] * 3)], "utterances")
        >>> one.before, one.after, one.change, one.count
        (0.5, 0.25, (-0.25, -0.25), 3)
    """
    before, after = tallies
    errors, units = np.stack([before.errors, after.errors]), np.stack([before.units, after.units])
    drawn = resampled_rates(errors, units, SAMPLES, seed=0) / scale
    change = percentile_interval(drawn[:, 1] - drawn[:, 0])
    return Figure(name, unit, before.rate / scale, after.rate / scale, change, len(before.errors), counted)


def share_of(
    name: str, before: Sequence[Item], after: Sequence[Item], is_so: Callable[[Item], bool], counted: str
) -> Figure:
    """Return the share of items of which something is so.

    Example:
        >>> share_of("odd", [2, 4], [1, 4], lambda number: number % 2 == 1, "numbers").after
        0.5
    """
    tallies = [Tally.of((int(is_so(item)), 1) for item in items) for items in (before, after)]
    return figure_of(name, tallies, counted)


def wer_of(pair: Pair, name: str = "WER") -> Figure:
    """Return the word error rate."""
    tallies = [Tally.of(map(word_errors, rows)) for rows in (pair.before, pair.after)]
    return figure_of(name, tallies, "utterances")


def cer_of(pair: Pair) -> Figure:
    """Return the character error rate of the normalised text."""
    normalize = get_normalizer(pair.normalizer, pair.language)
    tallies = []
    for rows in (pair.before, pair.after):
        counts = align_characters(
            [normalize(one.reference) for one in rows], [normalize(one.hypothesis) for one in rows]
        )
        tallies.append(Tally.of((one.errors, one.reference_length) for one in counts))
    return figure_of("CER", tallies, "utterances")


def milliseconds(seconds: float) -> int:
    """Return a duration in whole milliseconds."""
    return round(seconds * MILLISECONDS)
