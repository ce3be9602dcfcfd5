"""What every recipe of a plug-in promises: it says what it is, and its file runs again."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from whisper_peft.errors import WhisperPeftError
from whisper_peft.pipeline.runs.contradictions import refuse_contradictions
from whisper_peft.recipe.catalog import resolve_recipe
from whisper_peft.recipe.sections import Recipe
from whisper_peft.recipe.yaml_files import write_recipe
from whisper_peft.testing.promises import promise


def check_recipe(recipe: Recipe) -> None:
    """Check that a recipe can be offered under a name.

    It has a name of its own, contradicts itself nowhere, all that it names can be imported, and written as
    YAML and read back it is the same: so the `recipe.yaml` of each of its runs runs again.

    Args:
        recipe: What the entry point stands for.

    Raises:
        AssertionError: With the first promise that is broken.

    Example:
        >>> check_recipe(Recipe(name="parliament"))
        >>> check_recipe(Recipe())
        Traceback (most recent call last):
        AssertionError: a recipe has no name of its own: set `name`
    """
    promise(isinstance(recipe, Recipe), f"a recipe is a {type(recipe).__name__}, not a Recipe")
    promise(recipe.name != Recipe().name, "a recipe has no name of its own: set `name`")
    promise(recipe.output_dir is None, "a recipe names its run folder: leave output_dir to its users")
    try:
        named = resolve_recipe(recipe)
        refuse_contradictions(named)
        with TemporaryDirectory() as folder:
            write_recipe(named, Path(folder) / "recipe.yaml")
            again = resolve_recipe(Path(folder) / "recipe.yaml")
    except WhisperPeftError as error:
        raise AssertionError(f"{recipe.name} cannot be run, or not again from its file: {error}") from error
    differing = [name for name in Recipe.model_fields if getattr(named, name) != getattr(again, name)]
    promise(not differing, f"{', '.join(differing)} of {recipe.name} changed when read back from its file")
