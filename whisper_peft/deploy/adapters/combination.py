"""Several adapters of one base in one, by the ways that PEFT has for it."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, LoraModel, PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor

from whisper_peft.deploy.adapters.values import CombinedAdapter
from whisper_peft.errors import AdapterError, did_you_mean
from whisper_peft.model.adapters.activity import check_activity
from whisper_peft.model.adapters.folders import read_adapter_config, write_named_adapter
from whisper_peft.model.adapters.fused_lora import fuse_lora
from whisper_peft.model.adapters.scales import refuse_more_than_update
from whisper_peft.model.adapters.sets import add_adapter
from whisper_peft.model.loading import Whisper

COMBINED = "combined"

PRUNING = ("ties", "dare", "magnitude_prune")
"""Beginnings of the ways that keep a share of the values, the density."""


def combination_types() -> tuple[str, ...]:
    """Return the ways of combining LoRA adapters that the installed PEFT has.

    Example:
        >>> {"linear", "cat", "svd", "ties", "dare_ties"} <= set(combination_types())
        True
    """
    hints = typing.get_type_hints(LoraModel.add_weighted_adapter)
    return tuple(sorted(typing.get_args(hints["combination_type"])))


@dataclass(frozen=True, slots=True)
class Combination:
    """How adapters are combined.

    Attributes:
        how: One of `combination_types()`.
        weights: One for each adapter; negative ones take an update away.
        rank: Rank of the result, for the ways that end in svd. None: the largest of the adapters'.
        density: Share of the values that stay, for ties, dare and magnitude_prune.
        seed: Of the values that dare draws.
    """

    how: str
    weights: tuple[float, ...]
    rank: int | None = None
    density: float | None = None
    seed: int = 0

    def refuse_unfit(self, adapters: int) -> None:
        """Refuse what contradicts itself, before anything is loaded.

        Raises:
            AdapterError: With the field, and what it takes.
        """
        prunes = self.how.startswith(PRUNING)
        if self.how not in combination_types():
            known = did_you_mean(self.how, combination_types())
            raise AdapterError(f"how is {self.how!r}", "PEFT combines adapters in no such way", known)
        if len(self.weights) != adapters:
            given = f"{len(self.weights)} weights for {adapters} adapters"
            raise AdapterError(f"there are {given}", "each adapter has one", "give --weights, one for each")
        if prunes and not (self.density is not None and 0 < self.density <= 1):
            why = f"{self.how} keeps that share of the values"
            raise AdapterError(f"density is {self.density}", why, "give --density, such as 0.5")
        if not prunes and self.density is not None:
            raise AdapterError(f"density is {self.density}", f"{self.how} drops no values", "leave it out")
        if self.rank is not None and not (self.how.endswith("svd") and self.rank >= 1):
            raise AdapterError(
                f"rank is {self.rank}", f"{self.how} gives the result its rank", "leave it out, or use svd"
            )


def write_combined_adapter(
    whisper: Whisper, folders: Sequence[Path], combination: Combination, output_dir: Path
) -> CombinedAdapter:
    """Write a weighted combination of adapters as an ordinary adapter folder.

    Args:
        whisper: Their base, which is used up.
        folders: Adapter folders.
        combination: The way, and the weights.
        output_dir: Folder to write.

    Raises:
        AdapterError: If they are more than LoRA updates, do not fit the base or each other, or the result
            changes nothing.
        StorageError: If the folder cannot be written.
    """
    combination.refuse_unfit(len(folders))
    for folder in folders:
        refuse_more_than_update(read_adapter_config(folder, tell=False), "combined")
    with torch.random.fork_rng():  # PEFT draws first values for every adapter, which are then replaced
        names = [add_adapter(whisper, folder) for folder in folders]
        model = cast(PeftModel, whisper.model)
        torch.manual_seed(combination.seed)
        _combine(model, names, combination)
    model.set_adapter(COMBINED)
    model.requires_grad_(False).eval()
    warning = check_activity(whisper)
    write_named_adapter(model, COMBINED, output_dir)
    return CombinedAdapter(
        folder=str(output_dir),
        adapters=tuple(map(str, folders)),
        weights=combination.weights,
        how=combination.how,
        r=cast(LoraConfig, model.peft_config[COMBINED]).r,
        away_from_sum=_away_from_sum(model, names, combination.weights),
        warning=warning,
    )


def _combine(model: PeftModel, names: list[str], combination: Combination) -> None:
    targets = _name_all_targets(model, names)
    try:
        cast(LoraModel, model.base_model).add_weighted_adapter(
            names,
            list(combination.weights),
            COMBINED,
            combination_type=cast(Any, combination.how),
            svd_rank=combination.rank,
            svd_full_matrices=False,
            density=combination.density,
        )
    except ValueError as error:
        todo = "adapters of several ranks go with --how cat or svd"
        raise AdapterError(f"PEFT cannot combine them by {combination.how}", str(error), todo) from error
    config = cast(LoraConfig, model.peft_config[COMBINED])
    # PEFT computes the matrices for a scale of 1, and takes over use_rslora, whose scale is sqrt(r)
    config.use_rslora = False
    if all(one == targets[0] for one in targets):
        config.target_modules = targets[0]
    for layer in _lora_layers(model):
        if COMBINED in layer.scaling:
            layer.scaling[COMBINED] = 1.0
    fuse_lora(model)


def _name_all_targets(model: PeftModel, names: list[str]) -> list[Any]:
    """Name the layers of each adapter one by one, and return what its configuration had.

    PEFT joins lists of names, or patterns, but not one of each.
    """
    prefix = "base_model.model."
    before = [cast(LoraConfig, model.peft_config[name]).target_modules for name in names]
    for name in names:
        held = {
            path.removeprefix(prefix)
            for path, layer in model.named_modules()
            if isinstance(layer, LoraLayer) and name in layer.scaling
        }
        cast(Any, model.peft_config[name]).target_modules = held
    return before


def _away_from_sum(model: PeftModel, names: list[str], weights: Sequence[float]) -> float:
    """Return how far the combined update is from the weighted sum of the updates, as a share of that sum."""
    wrong = whole = 0.0
    for layer in _lora_layers(model):
        held = [(name, weight) for name, weight in zip(names, weights, strict=True) if name in layer.scaling]
        if not held:
            continue
        wanted = cast(Tensor, sum(weight * _update(layer, name) for name, weight in held))
        wrong += float((_update(layer, COMBINED) - wanted).square().sum())
        whole += float(wanted.square().sum())
    return (wrong / whole) ** 0.5 if whole else 0.0


def _update(layer: LoraLayer, name: str) -> Tensor:
    update: Tensor = cast(Any, layer).get_delta_weight(name)
    return update


def _lora_layers(model: PeftModel) -> list[LoraLayer]:
    return [layer for layer in model.modules() if isinstance(layer, LoraLayer)]
