"""Every field of a recipe, from where fields are declared: `whisper_peft/recipe/sections.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from generated_reference.tables import markdown_table, type_words
from whisper_peft.recipe.overrides import item_section, subsection
from whisper_peft.recipe.sections import Recipe, Section

_BOUNDS = {Ge: ("ge", "at least"), Gt: ("gt", "above"), Le: ("le", "at most"), Lt: ("lt", "below")}


def recipe_fields() -> str:
    """Return a heading and a table for each section of a recipe."""
    own = [name for name in Recipe.model_fields if subsection(Recipe, name) is None]
    head = ["## The recipe itself", _table(Recipe, "", own)]
    return "\n\n".join([*head, *_sections(Recipe, "")])


def _sections(section: type[Section], prefix: str) -> Iterator[str]:
    """Yield heading, sentence and table of each section below one, deeper ones after their own."""
    for name in section.model_fields:
        inner = subsection(section, name)
        items = item_section(section, name)
        if inner is not None:
            plain = [field for field in inner.model_fields if subsection(inner, field) is None]
            yield from (f"## {prefix}{name}", inner.__doc__ or "")
            if plain:
                yield _table(inner, f"{prefix}{name}.", plain)
            yield from _sections(inner, f"{prefix}{name}.")
        elif items is not None:
            yield from (f"## Each source of {prefix}{name}", items.__doc__ or "")
            yield _table(items, "", list(items.model_fields))


def _table(section: type[Section], prefix: str, names: list[str]) -> str:
    fields = {name: section.model_fields[name] for name in names}
    rows = [
        [f"`{prefix}{name}`", _kind(section, name, field), _default(field), field.description or ""]
        for name, field in fields.items()
    ]
    return markdown_table(["field", "type", "default", "what it is"], rows)


def _kind(section: type[Section], name: str, field: FieldInfo) -> str:
    if item_section(section, name) is not None:
        return "any number of sources"
    return ", ".join([type_words(field.annotation), *_bounds(field)])


def _bounds(field: FieldInfo) -> Iterator[str]:
    """Yield the limits that a value is held to, in words."""
    for limit in field.metadata:
        if type(limit) in _BOUNDS:
            attribute, words = _BOUNDS[type(limit)]
            yield f"{words} {getattr(limit, attribute):g}"


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else f"`{_value(field.default)}`"


def _value(value: Any) -> str:
    """Return a value as it is typed on a command line; nothing at all is `()`."""
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "()"
    return str(value)
