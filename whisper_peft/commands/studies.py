"""The command lines of recipe scripts that run a recipe many times: a learning curve, and a search."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import whisper_peft
from whisper_peft.flags import RecipeFlags, parse_command
from whisper_peft.recipe.catalog import resolve_recipe
from whisper_peft.recipe.sections import Recipe
from whisper_peft.terminal import show


@dataclass(frozen=True)
class LearningCurve:
    """Learn from growing parts of the speech, and tell what more of it would bring."""

    shares: tuple[float, ...] = (0.1, 0.3, 1.0)
    """Parts of the training split, whole speakers, each within the next."""
    seeds: tuple[int, ...] = ()
    """Seeds to run each share with. None given: the recipe's."""
    fields: RecipeFlags = field(default_factory=Recipe)


@dataclass(frozen=True)
class Search:
    """Look for better values of the recipe on training speakers that are held out."""

    trials: int = 20
    """Trials to end with, those of earlier calls included."""
    vary: tuple[Literal["rank", "scale", "learning_rate", "targets", "augmentation"], ...] = (
        "rank",
        "scale",
        "learning_rate",
        "targets",
        "augmentation",
    )
    """What is varied; scale is lora_alpha / r."""
    fields: RecipeFlags = field(default_factory=Recipe)


def run_learning_curve(recipe: Recipe, words: list[str]) -> None:
    """Run a learning curve of a script's recipe; the same words go on with one that was stopped."""
    command, overrides = parse_command(LearningCurve(fields=recipe), words, prog=_program())
    chosen = resolve_recipe(recipe, overrides)
    curve = whisper_peft.learning_curve(chosen, shares=command.shares, seeds=command.seeds)
    show(f"{curve.text()}\n{Path(curve.folder) / 'learning_curve.svg'}")


def run_search(recipe: Recipe, words: list[str]) -> None:
    """Search from a script's recipe; the same words go on with a search that was stopped."""
    command, overrides = parse_command(Search(fields=recipe), words, prog=_program())
    chosen = resolve_recipe(recipe, overrides)
    show(whisper_peft.search(chosen, trials=command.trials, vary=command.vary).text())


def _program() -> str:
    return Path(sys.argv[0]).name
