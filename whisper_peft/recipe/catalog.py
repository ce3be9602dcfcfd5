"""The named recipes: the scripts in `recipes/`, and those that installed packages offer."""

from __future__ import annotations

import ast
import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whisper_peft.errors import RecipeError, StorageError, did_you_mean
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.plug_ins import find_plug_in, load_plug_in, offering_package, plug_in_names
from whisper_peft.recipe.sections import Recipe
from whisper_peft.recipe.yaml_files import read_recipe, refuse_held_in_memory

_PACKAGE = Path(__file__).resolve().parent.parent


def resolve_recipe(recipe: str | Path | Recipe, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe that a value, a name or a YAML file stands for, ready to run.

    Args:
        recipe: A recipe, the name of one, or a path to its YAML file.
        overrides: Fields to replace, nested or dotted.

    Raises:
        RecipeError: If there is no such recipe, or a field is wrong, or a file's speech was held in memory.

    Example:
        >>> resolve_recipe("lora-librispeech", {"train.max_steps": 3}).train.max_steps
        3
    """
    resolved = apply_overrides(find_recipe(recipe), overrides or {})
    refuse_held_in_memory(resolved)
    effects, trackers = resolved.augment.custom, resolved.train.trackers
    found = {
        "augment.custom": tuple(find_plug_in(i, "augmentations", field="augment.custom") for i in effects),
        "train.trackers": tuple(find_plug_in(i, "trackers", field="train.trackers") for i in trackers),
    }
    return apply_overrides(resolved, found) if effects or trackers else resolved


def find_recipe(recipe: str | Path | Recipe) -> Recipe:
    """Return the recipe that a value, a name or a YAML file stands for, as it was written.

    Raises:
        RecipeError: If there is no such recipe, or the file is wrong.
    """
    if isinstance(recipe, Recipe):
        return recipe
    is_file = isinstance(recipe, Path) or Path(recipe).suffix in (".yaml", ".yml") or Path(recipe).is_file()
    return read_recipe(Path(recipe)) if is_file else named_recipe(str(recipe))


def recipe_names() -> tuple[str, ...]:
    """Return every name, sorted.

    Example:
        >>> "lora-librispeech" in recipe_names()
        True
    """
    return tuple(sorted({*_scripts(), *plug_in_names("recipes")}))


def named_recipe(name: str) -> Recipe:
    """Return the recipe of a name; dashes and underscores are the same.

    Raises:
        RecipeError: If no recipe has the name, or its plug-in holds none.

    Example:
        >>> named_recipe("lora_librispeech").name
        'lora-librispeech'
    """
    found = name.replace("_", "-")
    if found in _scripts():
        recipe = _run_script(recipe_script(found))
    elif found in plug_in_names("recipes"):
        recipe = load_plug_in("recipes", found)
    else:
        raise RecipeError(f"there is no recipe {name!r}", "", did_you_mean(found, recipe_names()))
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"{found} is a {type(recipe).__name__}", "its package should offer a Recipe")
    return recipe


def recipe_script(name: str) -> Path:
    """Return the script of a shipped recipe.

    Raises:
        RecipeError: If the name is unknown, or belongs to a plug-in, which has no script here.
    """
    scripts, found = _scripts(), name.replace("_", "-")
    if found not in scripts:
        raise RecipeError(f"there is no recipe script {name!r}", "", did_you_mean(found, scripts))
    return scripts[found]


def recipe_sentence(name: str) -> str:
    """Return the first line of a shipped recipe's docstring, or the package that a recipe comes from.

    Example:
        >>> recipe_sentence("lora-librispeech").startswith("LoRA")
        True
    """
    if name not in _scripts():
        return f"from the package {offering_package('recipes', name)}"
    docstring = ast.get_docstring(ast.parse(recipe_script(name).read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def copy_recipe(name: str, folder: Path) -> Path:
    """Copy a shipped recipe's script into a folder, to be changed, and return its path.

    Raises:
        RecipeError: If the name is unknown.
        StorageError: If the file is already there or cannot be written.
    """
    script = recipe_script(name)
    target = folder / script.name
    if target.exists():
        raise StorageError(f"{target} is already there", "a copy would replace it", "choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(script, target))
    except OSError as error:
        raise StorageError(
            f"{target} cannot be written", str(error.strerror), "choose another folder"
        ) from None


def _scripts() -> dict[str, Path]:
    """Return the shipped scripts by name: inside the package when installed, beside it in a checkout."""
    inside = _PACKAGE / "recipes"
    folder = inside if inside.is_dir() else _PACKAGE.parent / "recipes"
    return {path.stem.replace("_", "-"): path for path in sorted(folder.glob("[!_]*.py"))}


def _run_script(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"whisper_peft.recipes.{path.stem}", path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.RECIPE
