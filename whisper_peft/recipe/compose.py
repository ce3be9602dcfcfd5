"""A recipe is composed of parts; a part is any function from recipe to recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from whisper_peft.errors import RecipeError
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import Recipe

Part: TypeAlias = Callable[[Recipe], Recipe]
"""One ingredient: takes a recipe and returns a changed one."""


def compose(*parts: Part, name: str | None = None) -> Recipe:
    """Return the recipe that the parts make, applied from left to right: the later wins.

    Args:
        parts: Functions from recipe to recipe, such as `lora(r=8)`, or your own.
        name: Name of the run's kind, shown in reports.

    Raises:
        RecipeError: If something given is not a part.

    Example:
        >>> from whisper_peft.recipe.parts import lora, schedule, whisper
        >>> recipe = compose(whisper("openai/whisper-small"), lora(r=8), schedule(max_steps=100))
        >>> recipe.model.name, recipe.adapter.r, recipe.train.max_steps
        ('openai/whisper-small', 8, 100)
    """
    recipe = Recipe()
    for part in parts:
        if not callable(part):
            raise RecipeError(
                f"compose was given {part!r}",
                "a part is a function from recipe to recipe",
                "give lora(r=8), for one",
            )
        recipe = part(recipe)
    return apply_overrides(recipe, {"name": name}) if name is not None else recipe
