"""Paths in a recipe, made absolute, so that it means the same in another folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whisper_peft.recipe.sections import Recipe

PATHS = {
    "model": ("name",),
    "data": ("source", "corrections"),
    "adapter": ("init",),
    "augment.noise": ("source",),
    "augment.reverb": ("source",),
    "targets": ("no_speech_source",),
    "eval": ("no_speech_source",),
}
"""Fields that may hold a path."""


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """Return the recipe with every path that exists made absolute; names of the Hub stay as they are.

    Example:
        >>> from whisper_peft.recipe.sections import DataSection
        >>> made = with_absolute_paths(Recipe(data=DataSection(source=".")))
        >>> made.data.source == str(Path.cwd()), made.model.name
        (True, 'openai/whisper-tiny.en')
    """
    for section, fields in PATHS.items():
        for field in fields:
            recipe = _with_absolute(recipe, (*section.split("."), field))
    mix = tuple(_with_absolute(source, ("source",)) for source in recipe.data.mix)
    if all(new is old for new, old in zip(mix, recipe.data.mix, strict=True)):
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"mix": mix})})


def _with_absolute(value: Any, names: tuple[str, ...]) -> Any:
    """Return a frozen section with the path that lies under the names made absolute."""
    if not names:
        return _absolute(value)
    (name, *rest), old = names, getattr(value, names[0])
    new = _with_absolute(old, tuple(rest))
    return value if new is old else value.model_copy(update={name: new})


def _absolute(value: Any) -> Any:
    if not isinstance(value, str | Path):
        return value
    path = Path(value).expanduser()
    if path.is_absolute() or not path.exists():
        return value
    return str(path.absolute()) if isinstance(value, str) else path.absolute()
