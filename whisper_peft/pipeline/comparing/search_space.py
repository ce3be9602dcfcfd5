"""What a search varies: each choice by its name, and the fields of the recipe that it sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from whisper_peft.errors import RecipeError, did_you_mean
from whisper_peft.recipe.sections import AugmentSection, Recipe, SpecAugment, Speed

RANKS = (4, 8, 16, 32, 64)
SCALES = (0.5, 1.0, 2.0, 4.0)
"""lora_alpha / r."""

LEARNING_RATES = (3e-5, 2e-3)
"""Ends of the range; in between every rate can be drawn, evenly over its logarithm."""

TARGETS = ("all-linear", "attention", "encoder-only", "decoder-only")

AS_GIVEN = "as given"
AUGMENTATIONS: Mapping[str, Mapping[str, Any]] = {
    "masks": {"spec_augment": SpecAugment(p=0.5)},
    "speed": {"speed": Speed(p=0.5)},
    "masks and speed": {"spec_augment": SpecAugment(p=0.5), "speed": Speed(p=0.5)},
}


class Suggesting(Protocol):
    """What draws values: an optuna trial."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Draw one of several values."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Draw a number of a range."""


@dataclass(frozen=True)
class Dimension:
    """One thing that is varied.

    Attributes:
        given: What the recipe has.
        draw: Draws a value.
    """

    given: Any
    draw: Callable[[Suggesting], Any]


def dimensions(recipe: Recipe, vary: Sequence[str]) -> dict[str, Dimension]:
    """Return what is varied by name; what the recipe has is always among the choices.

    Raises:
        RecipeError: If a name is unknown, or LoRA is asked to vary where there is none.

    Example:
        >>> dimensions(Recipe(), ["rank"])["rank"].given
        32
    """
    adapter = recipe.adapter
    known = {
        "rank": _one_of("rank", RANKS, adapter.r),
        "scale": _one_of("scale", SCALES, adapter.lora_alpha / adapter.r),
        "learning_rate": _rate(recipe.train.learning_rate),
        "targets": _one_of("targets", TARGETS, adapter.targets),
        "augmentation": _one_of("augmentation", (AS_GIVEN, *AUGMENTATIONS), AS_GIVEN),
    }
    for name in vary:
        if name not in known:
            raise RecipeError(f"{name} cannot be varied", "", did_you_mean(name, known))
        if name in ("rank", "scale", "targets") and adapter.method != "lora":
            raise RecipeError(
                f"{name} cannot be varied with adapter.method {adapter.method}",
                "it is a field of LoRA",
                "vary learning_rate and augmentation",
            )
    if not vary:
        raise RecipeError("nothing is to be varied", todo=did_you_mean("", known))
    return {name: known[name] for name in vary}


def overrides_of(values: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Return the fields that drawn values set.

    Example:
        >>> overrides_of({"rank": 8, "scale": 2.0}, Recipe())
        {'adapter.r': 8, 'adapter.lora_alpha': 16.0}
    """
    fields: dict[str, Any] = {}
    if "rank" in values or "scale" in values:
        rank = values.get("rank", recipe.adapter.r)
        scale = values.get("scale", recipe.adapter.lora_alpha / recipe.adapter.r)
        fields |= {"adapter.r": rank, "adapter.lora_alpha": rank * scale}
    if "learning_rate" in values:
        fields["train.learning_rate"] = values["learning_rate"]
    if "targets" in values:
        fields["adapter.targets"] = values["targets"]
    if values.get("augmentation", AS_GIVEN) != AS_GIVEN:
        fields["augment"] = AugmentSection(**AUGMENTATIONS[values["augmentation"]])
    return fields


def _one_of(name: str, choices: Sequence[Any], given: Any) -> Dimension:
    given = ",".join(given) if isinstance(given, tuple) else given
    every = [*choices, *([] if given in choices else [given])]
    return Dimension(given, lambda trial: trial.suggest_categorical(name, every))


def _rate(given: float) -> Dimension:
    low, high = min(LEARNING_RATES[0], given), max(LEARNING_RATES[1], given)
    return Dimension(given, lambda trial: trial.suggest_float("learning_rate", low, high, log=True))
