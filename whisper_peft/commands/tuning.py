"""`finetune`, and the command line of a recipe script."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro import MISSING
from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.commands.words import first_word
from whisper_peft.errors import RecipeError
from whisper_peft.flags import RecipeFlags, parse_command
from whisper_peft.recipe.catalog import find_recipe, recipe_names, resolve_recipe
from whisper_peft.recipe.sections import Recipe
from whisper_peft.terminal import show

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""


@dataclass(frozen=True)
class Finetune:
    """Score, train, score again, merge and report."""

    recipe: Annotated[Positional[str], arg(metavar="NAME_OR_YAML")]
    """A named recipe (whisper-peft recipes list) or a recipe's YAML file."""
    resume: Literal["no", "yes", "auto"] = "no"
    """Go on from the last whole checkpoint in --output-dir. auto: if a run is there, else start."""
    fields: RecipeFlags = field(default_factory=Recipe)


@dataclass(frozen=True)
class Script:
    """Score, train, score again, merge and report."""

    resume: Literal["no", "yes", "auto"] = "no"
    """Go on from the last whole checkpoint in --output-dir. auto: if a run is there, else start."""
    fields: RecipeFlags = field(default_factory=Recipe)


def run_script(recipe: Recipe, words: list[str]) -> None:
    """Run a recipe script's own command line."""
    command, overrides = parse_command(
        Script(fields=recipe), _with_answer(words), prog=Path(sys.argv[0]).name
    )
    chosen = resolve_recipe(recipe, overrides)
    run_recipe(chosen, resume=command.resume)


def run_finetune(words: list[str]) -> None:
    """Score, train, score again, merge and report."""
    named = first_word(words)
    if named is None and not {"--help", "-h"} & set(words):
        known = ", ".join(recipe_names())
        raise RecipeError("finetune was given no recipe", "it comes first", f"a YAML file, or one of {known}")
    recipe = find_recipe(named) if named else Recipe()
    default = Finetune(MISSING, fields=recipe)
    command, overrides = parse_command(default, _with_answer(words), prog="whisper-peft finetune")
    chosen = resolve_recipe(recipe, overrides)
    run_recipe(chosen, resume=command.resume)


def _with_answer(words: list[str]) -> list[str]:
    """Read `--resume` alone as `--resume yes`."""
    answered: list[str] = []
    for word, following in itertools.pairwise([*words, "--"]):
        alone = word == "--resume" and following.startswith("-")
        answered += [word, "yes"] if alone else [word]
    return answered


def run_recipe(recipe: Recipe, *, resume: Literal["no", "yes", "auto"]) -> None:
    """Print the summary of a run; one that was stopped exits as Ctrl-C does."""
    run = whisper_peft.finetune(recipe, resume="auto" if resume == "auto" else resume == "yes")
    show(run.summary())
    if run.interrupted:
        raise SystemExit(INTERRUPTED)
