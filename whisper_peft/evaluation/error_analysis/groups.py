"""WER by what an utterance is like: how long, how loud the noise, how fast, whose, in which language."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from whisper_peft.data.survey.speaking_rate import letters
from whisper_peft.evaluation.error_analysis.rates import Tally, grouped
from whisper_peft.types import Prediction

DURATIONS_S = (0.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0)
"""Bounds of the groups of durations: a command, a phrase, a sentence, up to Whisper's window."""

SNRS_DB = (-100.0, 10.0, 20.0, 30.0, 40.0, 200.0)
"""Bounds of the groups of noise: below 10 dB words drown, above 40 dB nobody hears it."""

RATE_GROUPS = 4
"""Speaking rates are told in quarters of the utterances: languages differ too much for fixed bounds."""

MOST_NAMES = 40
"""Speakers, languages or sources that are told apart: those with the most words."""

Groups: TypeAlias = Iterator[tuple[str, Mapping[str, Tally]]]
"""Kinds by name, each with its tallies under `before` and `after`."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The same utterances, scored `before`, `after` or both."""

    predictions: Mapping[str, tuple[Prediction, ...]]

    @property
    def utterances(self) -> tuple[Prediction, ...]:
        """The utterances, as they were scored last."""
        return list(self.predictions.values())[-1]

    @property
    def tallies(self) -> Mapping[str, Tally]:
        """Word errors of each utterance, out of its words."""
        return {when: Tally.of(map(word_errors, rows)) for when, rows in self.predictions.items()}


def scored_alike(before: Mapping[str, Prediction], after: Mapping[str, Prediction]) -> Scored:
    """Return the utterances that were scored both times, or once where there is but one time."""
    times = {when: rows for when, rows in (("before", before), ("after", after)) if rows}
    latest = list(times.values())[-1] if times else {}
    names = [name for name in latest if all(name in rows for rows in times.values())]
    return Scored({when: tuple(rows[name] for name in names) for when, rows in times.items()})


def by_number(
    scored: Scored, value: Callable[[Prediction], float | None], bounds: Sequence[float], unit: str
) -> Groups:
    """Yield the groups of utterances between bounds; those without a value are left out.

    The outermost groups are open, and named `under` and `over`.
    """
    values, tallies = [value(one) for one in scored.utterances], scored.tallies
    for low, high in pairwise(bounds):
        least = -math.inf if low == bounds[0] else low
        most = math.inf if high == bounds[-1] else high
        members = [one is not None and least <= one < most for one in values]
        if any(members):
            yield _range(low, high, bounds, unit), grouped(tallies, members)


def _range(low: float, high: float, bounds: Sequence[float], unit: str) -> str:
    if low == bounds[0]:
        return f"under {high:g} {unit}"
    return f"over {low:g} {unit}" if high == bounds[-1] else f"{low:g} to {high:g} {unit}"


def by_name(scored: Scored, name_of: Callable[[Prediction], str | None]) -> Groups:
    """Yield the groups of utterances of one name each, those with the most words; none where all lack one."""
    names, tallies = [name_of(one) for one in scored.utterances], scored.tallies
    words = Counter[str]()
    for name, one in zip(names, scored.utterances, strict=True):
        if name is not None:
            words[name] += word_errors(one)[1]
    for name, _ in words.most_common(MOST_NAMES):
        yield name, grouped(tallies, [other == name for other in names])


def speaking_rate(prediction: Prediction) -> float | None:
    """Return the letters of the reference for each second of the recording."""
    return letters(prediction.reference) / prediction.duration_s if prediction.duration_s else None


def rate_bounds(scored: Scored) -> tuple[float, ...]:
    """Return the speaking rates that part the utterances into groups of equal size."""
    rates = [rate for rate in map(speaking_rate, scored.utterances) if rate is not None]
    if not rates:
        return ()
    parts = np.quantile(rates, np.linspace(0, 1, RATE_GROUPS + 1)).round(1)
    return tuple(dict.fromkeys(float(bound) for bound in parts))


def word_errors(prediction: Prediction) -> tuple[int, int]:
    """Return the word errors of an utterance, and the words of its reference."""
    errors = prediction.substitutions + prediction.deletions + prediction.insertions
    return errors, prediction.hits + prediction.substitutions + prediction.deletions
