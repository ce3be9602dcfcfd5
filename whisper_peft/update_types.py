"""Where tuning changed a model, layer by layer, as values: without weights, and without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

Measure: TypeAlias = Literal["update", "learned", "whole", "factors", "weights"]
"""What a norm is of: an adapter's update that began at zero, one less the update it began with, one together
with that, learned factors less 1, or tuned weights less the base's."""

NOT_TOLD = "not told: the sizes are of the update together with what it began with"
"""In place of the shares of a whole update."""

MOST_NAMED = 3
"""Layers that a sentence names."""


@dataclass(frozen=True, slots=True)
class LayerUpdate:
    """What changed in one layer.

    Attributes:
        layer: Its name from `encoder` or `decoder` on.
        norm: Frobenius norm of the change.
        relative: The norm as a fraction of what was there before, where that is known.
        effective_rank: e to the entropy of the singular values, each as a share of their sum (Roy and
            Vetterli, 2007): 1 where one direction changed, r where r of them did alike.
        r: Directions that the layer was given; where what it began with is taken off, those that both span.
    """

    layer: str
    norm: float
    relative: float | None = None
    effective_rank: float | None = None
    r: int | None = None

    @property
    def part(self) -> str:
        """The part of Whisper that it is in.

        Example:
            >>> LayerUpdate("decoder.layers.0.encoder_attn.q_proj", 1.0).part
            'decoder cross-attention'
        """
        side = self.layer.partition(".")[0]
        if side not in ("encoder", "decoder"):
            return "other"
        if ".encoder_attn." in self.layer:
            return "decoder cross-attention"
        if ".self_attn." in self.layer:
            return f"{side} self-attention"
        return f"{side} feed-forward" if self.layer.endswith((".fc1", ".fc2")) else "other"


@dataclass(frozen=True, slots=True)
class WeightUpdates:
    """Where tuning changed a model.

    Attributes:
        measure: What the norms are of.
        layers: Every changed layer, in the order of the model.
        shares: Share of the summed squared norms that lies in each part; none of a whole update, which is
            not what changed.
        notes: What the norms leave out, or why there are none.
    """

    measure: Measure
    layers: tuple[LayerUpdate, ...]
    shares: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)

    @property
    def most_changed(self) -> tuple[LayerUpdate, ...]:
        """The layers that changed most, the most changed first."""
        return tuple(sorted(self.layers, key=lambda one: -strength(one))[:MOST_NAMED])

    def sentences(self) -> tuple[str, ...]:
        """Return which parts changed, which layers most, and in how many directions, as far as it is known.

        Example:
            >>> one = LayerUpdate("encoder.layers.0.fc1", 2.0, effective_rank=3.5, r=8)
            >>> sum_up("update", [one]).sentences()
            ('encoder feed-forward 100 %', 'encoder.layers.0.fc1 (2)', '3.5 of 8 on average')
        """
        if not self.layers:
            return ()
        by_share = sorted(self.shares.items(), key=lambda pair: -pair[1])
        parts = ", ".join(f"{part} {100 * share:.0f} %" for part, share in by_share)
        parts = NOT_TOLD if self.measure == "whole" else parts
        most = ", ".join(f"{one.layer} ({strength(one):.3g})" for one in self.most_changed)
        ranks = [(one.effective_rank, one.r) for one in self.layers]
        told = [(found, given) for found, given in ranks if found is not None and given is not None]
        if not told:
            return parts, most
        found, given = (sum(column) / len(told) for column in zip(*told, strict=True))
        return parts, most, f"{found:.1f} of {given:.3g} on average"


def strength(one: LayerUpdate) -> float:
    """Return what layers are compared by: the change relative to what was there, else its norm."""
    return one.norm if one.relative is None else one.relative


def sum_up(measure: Measure, layers: list[LayerUpdate], notes: tuple[str, ...] = ()) -> WeightUpdates:
    """Return the layers with the share of each part.

    Example:
        >>> two = [LayerUpdate("encoder.layers.0.fc1", 3.0), LayerUpdate("decoder.layers.0.fc1", 4.0)]
        >>> sum_up("weights", two).shares
        {'encoder feed-forward': 0.36, 'decoder feed-forward': 0.64}
    """
    whole = sum(one.norm**2 for one in layers)
    shares: dict[str, float] = {}
    for one in layers if whole and measure != "whole" else ():
        shares[one.part] = shares.get(one.part, 0.0) + one.norm**2 / whole
    return WeightUpdates(measure, tuple(layers), shares, notes)
