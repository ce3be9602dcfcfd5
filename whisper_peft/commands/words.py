"""Words of a command line that say more than a flag: the recipe or run that comes first, and assignments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from whisper_peft.errors import RecipeError
from whisper_peft.recipe.sections import Recipe
from whisper_peft.recipe.yaml_files import read_recipe


def first_word(words: list[str]) -> str | None:
    """Return the word before any flag, if there is one."""
    return words[0] if words and not words[0].startswith("-") else None


def recorded_recipe(words: list[str]) -> Recipe:
    """Return the recipe of the run that the first word names, for the help and for checking flags."""
    file = Path(first_word(words) or "") / "recipe.yaml"
    return read_recipe(file) if file.is_file() else Recipe()


def assignments(words: tuple[str, ...]) -> dict[str, Any]:
    """Return `section.field=value` words as overrides; values are read as YAML reads them."""
    for word in words:
        if "=" not in word:
            raise RecipeError(f"{word} is no field=value", todo="write it as model.precision=bf16")
    return {name: yaml.safe_load(value) for name, _, value in (word.partition("=") for word in words)}
