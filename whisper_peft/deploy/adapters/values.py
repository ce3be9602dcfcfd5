"""What was made of adapters, and how near it is to what it was made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CombinedAdapter:
    """Several adapters in one.

    `away_from_sum` is the distance of the combined update from the weighted sum of the updates, as a fraction
    of that sum (Frobenius norms over all layers): 0 for `cat`, and much for ways that add A and B apart.
    """

    folder: str
    adapters: tuple[str, ...]
    weights: tuple[float, ...]
    how: str
    r: int
    away_from_sum: float
    warning: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)

    def sentence(self) -> str:
        """Say what was made.

        Example:
            >>> CombinedAdapter("out", ("a", "b"), (0.5, 0.5), "svd", 8, 0.021).sentence()
            '0.5 a + 0.5 b by svd, rank 8; the update is 2.1 % away from that sum'
        """
        terms = " + ".join(f"{w:g} {name}" for w, name in zip(self.weights, self.adapters, strict=True))
        said = (
            f"{terms} by {self.how}, rank {self.r}; the update is {self.away_from_sum:.1%} away from that sum"
        )
        return f"{said.replace('%', ' %')}{f'; warning: {self.warning}' if self.warning else ''}"


@dataclass(frozen=True, slots=True)
class AveragedAdapter:
    """The mean of a run's last checkpoints; `steps` are theirs."""

    folder: str
    steps: tuple[int, ...]
    passed_over: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)

    def sentence(self) -> str:
        """Say what was averaged.

        Example:
            >>> AveragedAdapter("out", (40, 60)).sentence()
            'the mean of the checkpoints of steps 40 and 60'
        """
        *others, last = map(str, self.steps)
        told = "".join(f"; {line}" for line in self.passed_over)
        return f"the mean of the checkpoints of steps {', '.join(others)} and {last}{told}"


@dataclass(frozen=True, slots=True)
class UnmergedBase:
    """A base got back from a merged model.

    `base` is the model that it was compared with, None where that is not at hand, and then so are the others:
    the largest difference of any weight, and the fraction of weights that are equal to the bit.
    """

    folder: str
    layers: int
    base: str | None
    max_weight_difference: float | None
    equal_weights: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)

    def sentence(self) -> str:
        """Say how near the result is to the base.

        Example:
            >>> UnmergedBase("out", 4, "openai/whisper-tiny.en", 0.0, 1.0).sentence()
            'the update was taken out of 4 layers; every weight equals openai/whisper-tiny.en to the bit'
        """
        taken = f"the update was taken out of {self.layers} layers"
        if self.base is None or self.equal_weights is None:
            return f"{taken}; the base is not at hand to compare with"
        if self.equal_weights == 1:
            return f"{taken}; every weight equals {self.base} to the bit"
        share = f"{100 * self.equal_weights:.4g} % of the weights equal {self.base} to the bit"
        return f"{taken}; {share}, none differs by more than {self.max_weight_difference:.2g}"


@dataclass(frozen=True, slots=True)
class ExtractedAdapter:
    """A LoRA of a fully tuned model's update.

    `energy_kept` is the fraction of the squared update of the adapted layers that the rank holds, `layers`
    the same for each, and `left_out` the fraction of the whole model's squared update outside of them.
    """

    folder: str
    base: str
    r: int
    energy_kept: float
    left_out: float
    layers: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)

    def sentence(self) -> str:
        """Say how much of the update the adapter holds.

        Example:
            >>> ExtractedAdapter("out", "tiny.en", 8, 0.9, 0.02, {"a": 0.8, "b": 1.0}).sentence()
            'rank 8 keeps 90.0 % of the update of 2 layers (80.0 % of a at least); 2.0 % of it lies outside'
        """
        lowest = min(self.layers, key=lambda name: self.layers[name])
        kept = f"rank {self.r} keeps {_percent(self.energy_kept)} of the update of {len(self.layers)} layers"
        least = f"({_percent(self.layers[lowest])} of {lowest} at least)"
        return f"{kept} {least}; {_percent(self.left_out)} of it lies outside"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
