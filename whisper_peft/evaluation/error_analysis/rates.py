"""Shares of errors with their intervals, before beside after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whisper_peft.evaluation.error_analysis.values import Rate, Slice
from whisper_peft.evaluation.resampling import percentile_interval, resampled_rates


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals are drawn."""

    samples: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """Errors and what they are counted against, of the same utterances in the same order."""

    errors: NDArray[np.int64]
    units: NDArray[np.int64]

    @classmethod
    def of(cls, counts: Iterable[tuple[int, int]]) -> Tally:
        """Return the tally of pairs of errors and units."""
        table = np.array(list(counts), dtype=np.int64).reshape(-1, 2)
        return cls(table[:, 0], table[:, 1])

    def only(self, chosen: NDArray[np.bool_]) -> Tally:
        """Return the tally of some of the utterances."""
        return Tally(self.errors[chosen], self.units[chosen])

    @property
    def is_met(self) -> NDArray[np.bool_]:
        """Which utterances have any of it."""
        return (self.errors > 0) | (self.units > 0)

    @property
    def rate(self) -> float:
        """Errors over units."""
        return float(self.errors.sum() / max(self.units.sum(), 1))


def slice_of(name: str, tallies: Mapping[str, Tally], resampling: Resampling) -> Slice | None:
    """Return the rates of a kind; None where no utterance has any of it.

    Args:
        name: The kind.
        tallies: Under `before` and `after`, one or both, of the same utterances.
        resampling: How intervals are drawn; each draw takes the same utterances for both.

    Example:
        >>> counts = {"before": Tally.of([(2, 4), (0, 0)]), "after": Tally.of([(1, 4), (0, 0)])}
        >>> found = slice_of("loud", counts, Resampling(10))
        >>> found.utterances, found.units, found.before.value, found.after.interval, found.change
        (1, 4, 0.5, (0.25, 0.25), (-0.25, -0.25))
    """
    met = np.logical_or.reduce([tally.is_met for tally in tallies.values()])
    if not met.any():
        return None
    kept = {when: tally.only(met) for when, tally in tallies.items()}
    errors = np.stack([tally.errors for tally in kept.values()])
    units = np.stack([tally.units for tally in kept.values()])
    drawn = resampled_rates(errors, units, resampling.samples, resampling.seed)
    counted = units.sum(axis=1).tolist()
    rates = {
        when: Rate(
            tally.rate,
            percentile_interval(drawn[:, place]),
            None if counted[place] == counted[-1] else counted[place],
        )
        for place, (when, tally) in enumerate(kept.items())
    }
    return Slice(
        name,
        utterances=int(met.sum()),
        units=counted[-1],
        before=rates.get("before"),
        after=rates.get("after"),
        change=percentile_interval(drawn[:, 1] - drawn[:, 0]) if len(kept) > 1 else None,
    )


def rate_of(tally: Tally, resampling: Resampling) -> Rate:
    """Return the rate of one tally.

    Example:
        >>> rate_of(Tally.of([(1, 4)] * 3), Resampling(10))
        Rate(value=0.25, interval=(0.25, 0.25), units=None)
    """
    drawn = resampled_rates(tally.errors[None], tally.units[None], resampling.samples, resampling.seed)
    return Rate(tally.rate, percentile_interval(drawn[:, 0]))


def slices_of(named: Iterable[tuple[str, Mapping[str, Tally]]], resampling: Resampling) -> tuple[Slice, ...]:
    """Return the slices of several kinds, those that are met."""
    found = (slice_of(name, tallies, resampling) for name, tallies in named)
    return tuple(one for one in found if one is not None)


def grouped(tallies: Mapping[str, Tally], members: Sequence[bool]) -> Mapping[str, Tally]:
    """Return the tallies of some of the utterances."""
    chosen = np.array(members, dtype=bool)
    return {when: tally.only(chosen) for when, tally in tallies.items()}
