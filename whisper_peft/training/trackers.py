"""Trackers: listeners of a run that belong to a recipe, such as an experiment service or a mailbox."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from whisper_peft.errors import RecipeError
from whisper_peft.recipe.plug_ins import find_plug_in, qualified_name
from whisper_peft.recipe.sections import Recipe
from whisper_peft.training.events import Callback

Tracker: TypeAlias = Callable[[Recipe, Path], Callback]
"""Given the recipe and the run folder, returns what listens to the events of the run.

Example:
    >>> def printing(recipe: Recipe, folder: Path) -> Callback:
    ...     return lambda event: print(recipe.name, event.kind, event.step)
"""


def open_trackers(recipe: Recipe, folder: Path) -> tuple[Callback, ...]:
    """Return the listeners that a recipe's trackers make for a run.

    Args:
        recipe: With the trackers, and for them to note.
        folder: Run folder.

    Raises:
        RecipeError: If one cannot be found or called, or returns what cannot listen.

    Example:
        >>> open_trackers(Recipe(), Path("runs/mine"))
        ()
    """
    return tuple(_open(tracker, recipe, folder) for tracker in recipe.train.trackers)


def _open(tracker: Any, recipe: Recipe, folder: Path) -> Callback:
    make: Tracker = find_plug_in(tracker, "trackers", field="train.trackers")
    callback = make(recipe, folder)
    if not callable(callback):
        raise RecipeError(
            f"the tracker {qualified_name(make)} returned a {type(callback).__name__}",
            "it is given the recipe and the run folder, and returns a callable that is given each event",
            "mend it, or leave it out of train.trackers",
        )
    return callback
