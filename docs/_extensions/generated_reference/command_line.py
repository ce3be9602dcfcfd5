"""What `--help` prints of every verb, as the program itself prints it."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator

from whisper_peft.commands import VERBS
from whisper_peft.commands.adapter_verbs import ACTIONS
from whisper_peft.recipe.overrides import subsection
from whisper_peft.recipe.sections import Recipe

WIDTH = 80
"""Columns of the terminal that the help is written for."""

_BOX = re.compile(r"^╭─ ([\w.-]+) options ─.*?^╰─+╯\n?", flags=re.MULTILINE | re.DOTALL)


def command_line() -> str:
    """Return a heading for each verb, with its help; fields of a recipe stand on a page of their own."""
    verbs = {"": _main, **VERBS, **{f"adapters {name}": run for name, run in ACTIONS.items()}}
    return "\n\n".join(part for name, run in verbs.items() for part in _verb(name, run))


def _verb(name: str, run: Callable[[list[str]], None]) -> Iterator[str]:
    text, sections = without_recipe_fields(help_of(run))
    yield f"## {f'whisper-peft {name}'.strip()}"
    yield f"```text\n{text.rstrip()}\n```"
    if sections:
        links = ", ".join(f"[`--{name}.*`](recipe-fields.md#{_anchor(name)})" for name in sections)
        yield f"Fields of the recipe that are flags of it too: {links}."


def without_recipe_fields(text: str) -> tuple[str, list[str]]:
    """Return a help text without the boxes of a recipe's sections, and the names of these sections."""
    left_out = [name.replace("-", "_") for name in _BOX.findall(text) if _is_section(name)]
    return _BOX.sub(lambda box: "" if _is_section(box[1]) else box[0], text), left_out


def _is_section(name: str) -> bool:
    """Tell whether a dotted name is that of a section of the recipe, such as augment.noise."""
    section: type | None = Recipe
    for part in name.replace("-", "_").split("."):
        section = subsection(section, part) if section is not None else None
    return section is not None


def _anchor(name: str) -> str:
    """Return the anchor of a section's heading, as GitHub and MyST make it."""
    return name.replace(".", "").lower()


def _main(words: list[str]) -> None:
    from whisper_peft.cli import main

    main(args=words)


def help_of(run: Callable[[list[str]], None]) -> str:
    """Return what a verb prints for `--help`, on a terminal of a known width and without colours."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # with an encoding, lines are drawn
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            run(["--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    printed.seek(0)
    return re.sub(r"\x1b\[[\d;]*m", "", printed.read())
