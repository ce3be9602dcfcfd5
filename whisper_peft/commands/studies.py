"""What recipe scripts do that is more than one run: a learning curve, a search, pseudo-labels."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro import MISSING

import whisper_peft
from whisper_peft.commands.labelling import label_text, tell_heard
from whisper_peft.commands.tuning import run_recipe
from whisper_peft.flags import RecipeFlags, parse_command
from whisper_peft.recipe.catalog import resolve_recipe
from whisper_peft.recipe.parts import mix
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


@dataclass(frozen=True)
class PseudoLabel:
    """Write down recordings without text, and learn from the rows that are sure beside transcribed ones."""

    recordings: str
    """Recordings to write down: a file, a folder, or whatever data.source takes."""
    labeller: str
    """The run or model that writes them down, in model.language; best a better one than learns."""
    labelled: Path = Path("labelled")
    """Folder for the rows that are written down."""
    min_confidence: float = 0.0
    """Least confidence of a row to learn from, 0 to 1."""
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


def run_pseudo_label(recipe: Recipe, words: list[str]) -> None:
    """Label recordings and learn from them; the same words go on with what was stopped."""
    default = PseudoLabel(MISSING, MISSING, fields=recipe)
    command, overrides = parse_command(default, words, prog=_program())
    chosen = resolve_recipe(recipe, overrides)
    language = chosen.model.language
    result = whisper_peft.label(
        command.labeller,
        command.recordings,
        output_dir=command.labelled,
        model={} if language is None else {"language": language},
        min_confidence=command.min_confidence,
        on_shard=tell_heard,
    )
    show(label_text(result))
    beside = mix(result.folder, name="pseudo-labels", train="all", eval=None)
    run_recipe(beside(chosen), resume="auto")


def _program() -> str:
    return Path(sys.argv[0]).name
