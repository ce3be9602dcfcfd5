"""Names that stand for objects: `module:name`, and entry points. Nothing is imported before it is named."""

from __future__ import annotations

import importlib
from functools import reduce
from importlib.metadata import entry_points
from typing import Any

from whisper_peft.errors import RecipeError, did_you_mean


def qualified_name(value: Any) -> str:
    """Return the `module:name` of a function or class; that of any other callable cannot be imported again.

    Example:
        >>> qualified_name(entry_points)
        'importlib.metadata:entry_points'
    """
    if isinstance(getattr(value, "__qualname__", None), str):
        return f"{value.__module__}:{value.__qualname__}"
    return f"{type(value).__module__}:{type(value).__qualname__}()"


def import_name(name: str, *, field: str) -> Any:
    """Return the object that `module:name` stands for.

    Args:
        name: The module and the name in it, such as `my_package.effects:whispered`.
        field: The field that holds the name, for the message.

    Raises:
        RecipeError: If it cannot be imported.

    Example:
        >>> import_name("math:floor", field="augment.custom")(2.5)
        2
    """
    module, _, attribute = name.partition(":")
    try:
        return reduce(getattr, attribute.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise RecipeError(
            f"{field} is {name!r}, which cannot be imported",
            str(error),
            "give a module:name that is on the Python path, or pass the object itself from Python",
        ) from None


def plug_in_names(group: str) -> tuple[str, ...]:
    """Return the names that installed packages offer in an entry-point group, such as `recipes`.

    Example:
        >>> plug_in_names("no-such-group")
        ()
    """
    return tuple(sorted(entry_points(group=f"whisper_peft.{group}").names))


def find_plug_in(named: Any, group: str, *, field: str) -> Any:
    """Return the callable that a field names: an object as it is, a `module:name`, or an entry point.

    Args:
        named: What the field holds.
        group: Group of entry points, such as `trackers`.
        field: The field, for the message.

    Raises:
        RecipeError: If it cannot be found, or cannot be called.

    Example:
        >>> find_plug_in("math:floor", "augmentations", field="augment.custom")(2.5)
        2
    """
    found = named
    if isinstance(named, str) and ":" in named:
        found = import_name(named, field=field)
    elif isinstance(named, str):
        known = plug_in_names(group)
        if named not in known:
            why = "it is no module:name, and no installed package offers it"
            raise RecipeError(f"{field} is {named!r}", why, did_you_mean(named, known))
        found = load_plug_in(group, named)
    if not callable(found):
        raise RecipeError(
            f"{field} holds {named!r}, a {type(found).__name__}",
            "it cannot be called",
            "give a function, its module:name, or what an installed package offers",
        )
    return found


def offering_package(group: str, name: str) -> str:
    """Return the installed package that offers an entry point, which is not imported."""
    entry = next(iter(entry_points(group=f"whisper_peft.{group}", name=name)))
    return entry.dist.name if entry.dist is not None else entry.module


def load_plug_in(group: str, name: str) -> Any:
    """Return the object that an installed package offers under a name.

    Raises:
        RecipeError: If no package offers it, or if it cannot be imported.
    """
    for entry in entry_points(group=f"whisper_peft.{group}", name=name):
        try:
            return entry.load()
        except (ImportError, AttributeError) as error:
            raise RecipeError(
                f"{name} of {entry.value} cannot be imported",
                str(error),
                "reinstall the package that offers it",
            ) from None
    raise RecipeError(f"there is no {name!r} in {group}", todo=did_you_mean(name, plug_in_names(group)))
