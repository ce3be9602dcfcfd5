"""What an adapter folder holds, told without its base's weights."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftType
from torch import Tensor

from whisper_peft.errors import AdapterError
from whisper_peft.model.adapters.bases import find_base
from whisper_peft.model.adapters.folders import find_adapter_folder, read_adapter_config, read_adapter_state
from whisper_peft.model.adapters.repairs import MODEL_PREFIX
from whisper_peft.model.adapters.weight_updates import adapter_updates
from whisper_peft.update_types import WeightUpdates

_SHARED = "base_model.vera_"


@dataclass(frozen=True, slots=True)
class AdapterDescription:
    """An adapter as its folder tells it.

    `base` is None where it cannot be recognised, and `base_sentence` says why, or how it was. `targets`
    counts the adapted layers by the last part of their names. `empty_layers` are those whose update is zero,
    and `updates` tells how large that of each other is.
    """

    folder: str
    kind: str
    base: str | None
    base_sentence: str | None
    r: int | None
    lora_alpha: float | None
    layers: int
    targets: dict[str, int]
    weights: int
    bytes: int
    empty_layers: int
    updates: WeightUpdates

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)

    def text(self) -> str:
        """Return it as a few aligned lines.

        Example:
            >>> nothing = WeightUpdates("update", ())
            >>> of = AdapterDescription("a", "LORA", "b", None, 8, 16, 2, {"fc1": 2}, 9, 36, 2, nothing)
            >>> of.text().splitlines()[-1]
            'untrained   the update of every layer is zero'
        """
        rank = {} if self.r is None else {"rank": f"{self.r}, lora_alpha {self.lora_alpha:g}"}
        targets = ", ".join(f"{name} {count}" for name, count in sorted(self.targets.items()))
        empty = f"the update of {self.empty_layers} of {self.layers} layers is zero"
        untrained = self.empty_layers == self.layers
        lines = {
            "adapter": f"{self.folder} ({self.kind})",
            "base": self.base or "not known",
            **({"": self.base_sentence} if self.base_sentence else {}),
            **rank,
            "layers": f"{self.layers}: {targets}",
            "weights": f"{self.weights:,}, {self.bytes:,} bytes",
            **({"note": empty} if 0 < self.empty_layers < self.layers else {}),
            **({"untrained": "the update of every layer is zero"} if untrained else self._changed()),
        }
        return "\n".join(f"{label:<12}{text}" for label, text in lines.items())

    def _changed(self) -> dict[str, str]:
        """Return where the model changed, a line for each thing to say."""
        sizes = dict(zip(("changed", "most in", "directions"), self.updates.sentences(), strict=False))
        return sizes | ({"left out": "; ".join(self.updates.notes)} if self.updates.notes else {})


def describe_folder(folder: Path) -> AdapterDescription:
    """Return what an adapter folder holds; what is repaired in it is logged.

    Raises:
        AdapterError: If there is no adapter, or it is damaged.
    """
    place = find_adapter_folder(folder)
    if place is None:
        raise AdapterError(
            f"{folder} is no adapter", "it has no adapter_config.json", "give an adapter folder"
        )
    config, state = read_adapter_config(place), read_adapter_state(place)
    try:
        base, sentence = find_base(place, config, state)
    except AdapterError as error:
        base, sentence = None, error.why
    layers = _layers(state)
    r, alpha = (config.r, float(config.lora_alpha)) if isinstance(config, LoraConfig) else (None, None)
    return AdapterDescription(
        folder=str(place),
        kind=PeftType(config.peft_type).value,
        base=base,
        base_sentence=sentence,
        r=r,
        lora_alpha=alpha,
        layers=len(layers),
        targets=_count_targets(layers),
        weights=sum(tensor.numel() for tensor in state.values()),
        bytes=sum(tensor.nbytes for tensor in state.values()),
        empty_layers=sum(not all(bool(matrix.any()) for matrix in matrices) for matrices in layers.values()),
        updates=adapter_updates(config, state),
    )


def _layers(state: dict[str, Tensor]) -> dict[str, list[Tensor]]:
    """Return the tensors of each adapted layer; VeRA's random matrices belong to none."""
    layers: dict[str, list[Tensor]] = {}
    for name, tensor in state.items():
        if name.startswith(_SHARED):
            continue
        path = re.split(r"\.(?:lora|ia3|vera_lambda)_", name.removeprefix(MODEL_PREFIX), maxsplit=1)[0]
        layers.setdefault(path, []).append(tensor)
    return layers


def _count_targets(layers: dict[str, list[Tensor]]) -> dict[str, int]:
    last = [path.rpartition(".")[2] for path in layers]
    return {name: last.count(name) for name in sorted(set(last))}
