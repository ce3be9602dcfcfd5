"""The public names of the package, grouped by where they live, described by their docstrings."""

from __future__ import annotations

import inspect
from typing import Any

import whisper_peft

_GROUPS: dict[str, tuple[str, ...]] = {
    "What is done": (),
    "Recipes and their parts": ("whisper_peft.recipe.compose", "whisper_peft.recipe.parts"),
    "Sections of a recipe that are given as values": ("whisper_peft.recipe.sections",),
    "What comes of it": (),
    "Errors": ("whisper_peft.errors",),
}
"""Headings, with the modules whose names stand below them; the others are functions and what they return."""


def python_api() -> str:
    """Return a heading for each group of public names, and an autodoc directive for each name."""
    names = sorted(name for name in whisper_peft.__all__ if not name.startswith("__"))
    grouped = {title: [name for name in names if _group(name) == title] for title in _GROUPS}
    return "\n\n".join(part for title, members in grouped.items() for part in _section(title, members))


def _group(name: str) -> str:
    """Return the heading that a name belongs under."""
    home = whisper_peft._HOME_OF[name]
    for title, modules in _GROUPS.items():
        if home in modules:
            return title
    return "What comes of it" if isinstance(getattr(whisper_peft, name), type) else "What is done"


def _section(title: str, names: list[str]) -> list[str]:
    return [f"## {title}", *(_directive(name, getattr(whisper_peft, name)) for name in names)]


def _directive(name: str, value: Any) -> str:
    """Return the directive that describes a name: a class with its fields and methods, a function, a type."""
    if not isinstance(value, type):
        directive = "autofunction" if inspect.isfunction(value) else "autodata"
        return f"```{{eval-rst}}\n.. {directive}:: whisper_peft.{name}\n```"
    kind = "autoexception" if issubclass(value, Exception) else "autoclass"
    options = "   :members:\n   :exclude-members: model_config"
    return f"```{{eval-rst}}\n.. {kind}:: whisper_peft.{name}\n{options}\n```"
