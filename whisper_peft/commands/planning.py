"""`check`: what a run will take, and what would stop it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro import MISSING
from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.commands.json_files import refuse_unwritable, write_json
from whisper_peft.commands.words import first_word
from whisper_peft.errors import RecipeError
from whisper_peft.flags import RecipeFlags, parse_command
from whisper_peft.recipe.catalog import find_recipe, recipe_names, resolve_recipe
from whisper_peft.recipe.sections import Recipe
from whisper_peft.terminal import plan_text, show

UNFIT = 2
"""Exit code where something would stop the run: it is the user's to mend."""


@dataclass(frozen=True)
class Check:
    """Tell what a run will take, and what would stop it, before anything is loaded."""

    recipe: Annotated[Positional[str], arg(metavar="NAME_OR_YAML")]
    """A named recipe (whisper-peft recipes list) or a recipe's YAML file."""
    json: Path | None = None
    """File to write the plan to."""
    fields: RecipeFlags = field(default_factory=Recipe)


def run_check(words: list[str]) -> None:
    """Tell what a run will take, and what would stop it, before anything is loaded."""
    named = first_word(words)
    if named is None and not {"--help", "-h"} & set(words):
        known = ", ".join(recipe_names())
        raise RecipeError("check was given no recipe", "it comes first", f"a YAML file, or one of {known}")
    recipe = find_recipe(named) if named else Recipe()
    default = Check(MISSING, fields=recipe)
    command, overrides = parse_command(default, words, prog="whisper-peft check")
    if command.json is not None:
        refuse_unwritable(command.json)
    plan = whisper_peft.check(resolve_recipe(recipe, overrides))
    if command.json is not None:
        write_json(command.json, plan.to_dict())
    show(plan_text(plan))
    if not plan.fits:
        raise SystemExit(UNFIT)
