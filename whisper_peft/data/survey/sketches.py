"""Distributions of any number of values in bounded memory: counts in bins of equal width or equal ratio.

With bins of equal ratio this is DDSketch (Masson et al., VLDB 2019): every quantile is within half a bin of
the true one, however many values were seen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""What is told of every distribution."""

HISTOGRAM_BARS = 30
"""Most bars of a histogram."""

MAD_TO_DEVIATION = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation: 1 / 0.6745."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """How values lie: number, extremes, mean, quantiles by probability, and a histogram of equal bars."""

    count: int
    least: float
    most: float
    mean: float
    quantiles: dict[str, float]
    edges: tuple[float, ...]
    """Bounds of the bars, one more than there are bars; the outer ones hold everything beyond."""
    counts: tuple[int, ...]

    @property
    def median(self) -> float:
        """The value that half of the values are below."""
        return self.quantiles["0.5"]

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)


@dataclass
class Sketch:
    """Count values in bins, so that their number costs no memory.

    Args:
        step: Width of a bin; of a logarithmic sketch, of the logarithm: 0.01 keeps values within 0.5 %.
        is_log: Whether the bins have equal ratios, for positive values such as durations.

    Example:
        >>> sketch = Sketch(0.01, is_log=True)
        >>> for seconds in range(1, 100):
        ...     sketch.add(seconds)
        >>> round(sketch.quantile(0.5)), sketch.count
        (50, 99)
    """

    step: float
    is_log: bool = False
    bins: Counter[int] = field(default_factory=Counter)
    count: int = 0
    total: float = 0.0
    least: float = math.inf
    most: float = -math.inf

    def add(self, value: float) -> None:
        """Count a value; a logarithmic sketch takes those below 1e-6 as that."""
        self.bins[round(self._place(value) / self.step)] += 1
        self.count += 1
        self.total += value
        self.least, self.most = min(self.least, value), max(self.most, value)

    def quantile(self, probability: float) -> float:
        """Return the value that this share of the values is at or below."""
        rank = probability * (self.count - 1)
        return self._clipped(self._value(_weighted_quantile(sorted(self.bins.items()), rank)))

    def robust_z(self, value: float, *, least: float = 0.0) -> float:
        """Return how far a value is from the median, in robust standard deviations (1.4826 MAD).

        On a logarithmic sketch both are of the logarithm.

        Args:
            value: The value.
            least: The deviation is taken to be at least this, and at least a bin, however alike values are.
        """
        ordered = sorted(self.bins.items())
        centre = _weighted_quantile(ordered, 0.5 * (self.count - 1))
        away = sorted((abs(place - centre), count) for place, count in ordered)
        deviation = MAD_TO_DEVIATION * _weighted_quantile(away, 0.5 * (self.count - 1))
        deviation = max(deviation, least / self.step, 1.0)
        return (self._place(value) / self.step - centre) / deviation

    def summary(self) -> Distribution | None:
        """Return the distribution as a value; None where nothing was counted."""
        if not self.count:
            return None
        edges = _edges(self.quantile(0.001), self.quantile(0.999))
        counts = [0] * (len(edges) - 1)
        for place, count in self.bins.items():
            counts[_bar(self._clipped(self._value(place)), edges)] += count
        quantiles = {str(probability): self.quantile(probability) for probability in QUANTILES}
        mean = self.total / self.count
        return Distribution(self.count, self.least, self.most, mean, quantiles, edges, tuple(counts))

    def _place(self, value: float) -> float:
        return math.log(max(value, 1e-6)) if self.is_log else value

    def _value(self, place: float) -> float:
        return math.exp(place * self.step) if self.is_log else place * self.step

    def _clipped(self, value: float) -> float:
        return min(max(value, self.least), self.most)


def _weighted_quantile(ordered: Sequence[tuple[float, int]], rank: float) -> float:
    """Return the place of the value of a rank, counted from 0, among places with their counts."""
    seen = 0
    for place, count in ordered:
        seen += count
        if seen > rank:
            return place
    return ordered[-1][0]


def _edges(low: float, high: float) -> tuple[float, ...]:
    """Return round bounds (1, 2 or 5 times a power of ten apart) of at most `HISTOGRAM_BARS` bars."""
    span = max(high - low, 1e-3 * abs(high), 1e-6)
    power = 10.0 ** math.floor(math.log10(span / HISTOGRAM_BARS))
    width = next(power * step for step in (1, 2, 5, 10, 20) if span / (power * step) <= HISTOGRAM_BARS - 1)
    first, last = math.floor(low / width), math.floor(high / width) + 1
    return tuple(round(place * width, 9) for place in range(first, last + 1))


def _bar(value: float, edges: Sequence[float]) -> int:
    width = edges[1] - edges[0]
    return min(max(math.floor((value - edges[0]) / width + 1e-9), 0), len(edges) - 2)
