"""Changes to a recipe with which it fits the memory, as flags to type; the batch of a step stays."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from whisper_peft.errors import WhisperPeftError
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import Recipe
from whisper_peft.training.halving import longest_part_s
from whisper_peft.training.planning.planner import Forecast, Planner

Overrides: TypeAlias = dict[str, Any]
"""Fields by their dotted names."""

Replan: TypeAlias = Callable[[Recipe], Planner]

MOST = 4
"""Proposals that are made at most."""

PART_SECONDS = (80, 40, 20, 10)
"""Audio seconds to compute at once: a LibriSpeech utterance lasts 12 s on average."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to type, and what the run takes then."""

    flags: str
    peak_memory_bytes: int
    seconds: float


def propose(planner: Planner, free_bytes: int, replan: Replan) -> tuple[Proposal, ...]:
    """Return changes with which a run fits; each alone if it can, else all of them together, one by one.

    Args:
        planner: The run that does not fit.
        free_bytes: Memory that there is.
        replan: Returns the planner of a changed recipe.
    """
    device = planner.machine.device
    tried = (_fitting(planner, change, free_bytes, replan) for change in _changes(planner.recipe, device))
    alone = tuple(itertools.islice((found for found in tried if found), MOST))
    if alone:
        return alone
    together: Overrides = {}
    for change in _changes(planner.recipe, device):
        together |= change
        if found := _fitting(planner, together, free_bytes, replan):
            return (found,)
    return ()


def _changes(recipe: Recipe, device: torch.device) -> Iterator[Overrides]:
    """Yield changes from the mildest on; what is computed at once is halved down to single utterances."""
    train, model = recipe.train, recipe.model
    if train.audio_context == "full":
        yield {"train.audio_context": "cut"}
    longest_s = longest_part_s(train.part_seconds, device)
    yield from ({"train.part_seconds": seconds} for seconds in PART_SECONDS if seconds < longest_s)
    if model.precision in ("auto", "fp32"):
        yield {"model.precision": "bf16"}
    if not train.gradient_checkpointing:
        yield {"train.gradient_checkpointing": True}
    if model.quantize == "none" and recipe.adapter.method != "full":
        yield {"model.quantize": "int8"}
        yield {"model.quantize": "nf4"}


def _fitting(planner: Planner, change: Overrides, free_bytes: int, replan: Replan) -> Proposal | None:
    """Return a change as a proposal, with as small an evaluation as it needs, if it fits so."""
    rows = planner.recipe.eval.batch_size
    while rows >= 1:
        smaller = {"eval.batch_size": rows} if rows != planner.recipe.eval.batch_size else {}
        changed = {**change, **smaller}
        try:
            forecast = replan(apply_overrides(planner.recipe, changed)).forecast()
        except WhisperPeftError:  # such as a precision that this machine does not have
            return None
        if forecast.peak_memory_bytes <= free_bytes:
            return Proposal(as_flags(changed), forecast.peak_memory_bytes, forecast.seconds)
        merging = forecast.stages.get("merge")
        if merging is not None and merging.memory_bytes > free_bytes:
            return _fitting(planner, {**change, "merge.enabled": False}, free_bytes, replan)
        if not _scoring_is_largest(forecast):
            return None
        rows //= 2
    return None


def _scoring_is_largest(forecast: Forecast) -> bool:
    largest = max(forecast.stages, key=lambda name: forecast.stages[name].memory_bytes)
    return largest.startswith("score")


def as_flags(overrides: Overrides) -> str:
    """Return overrides as they are typed.

    Example:
        >>> as_flags({"train.batch_size": 4, "train.gradient_checkpointing": True})
        '--train.batch-size 4 --train.gradient-checkpointing'
        >>> as_flags({"merge.enabled": False})
        '--merge.no-enabled'
    """
    return " ".join(_flag(name.replace("_", "-"), value) for name, value in overrides.items())


def _flag(name: str, value: Any) -> str:
    section, _, field = name.rpartition(".")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--{section}.no-{field}"
    return f"--{name} {value}"
