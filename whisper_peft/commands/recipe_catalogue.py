"""`recipes`: the catalogue listed, shown and copied."""

from __future__ import annotations

from pathlib import Path

from whisper_peft.errors import RecipeError, did_you_mean
from whisper_peft.recipe.catalog import copy_recipe, named_recipe, recipe_names, recipe_sentence
from whisper_peft.recipe.yaml_files import recipe_yaml
from whisper_peft.terminal import show

USAGE = """\
usage: whisper-peft recipes ACTION ...

  list                every recipe, with its first sentence
  show NAME           a recipe as YAML
  copy NAME [FOLDER]  a recipe's script, to be changed; FOLDER is the current one, unless it is given"""


def run_recipes(words: list[str]) -> None:
    """List the recipes, show one as YAML, or copy its script."""
    if not words or {"--help", "-h"} & {*words}:
        show(USAGE)
        return
    match words:
        case ["list"]:
            width = max(map(len, recipe_names()))
            show("\n".join(f"{name:<{width}}  {recipe_sentence(name)}" for name in recipe_names()))
        case ["show", name]:
            show(recipe_yaml(named_recipe(name)).rstrip())
        case ["copy", name, *folder] if len(folder) <= 1:
            show(str(copy_recipe(name, Path(*folder))))
        case _:
            known = did_you_mean(words[0], ["list", "show NAME", "copy NAME [FOLDER]"])
            raise RecipeError(f"recipes {' '.join(words)} is not a command", todo=known)
