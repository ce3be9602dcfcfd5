"""Types and values as a reader gets them in a table of the reference."""

from __future__ import annotations

import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "yes or no",
    Path: "path",
    Any: "any object",
}


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""Return a Markdown table; cells may hold bars and line ends.

    Example:
        >>> print(markdown_table(["a", "b"], [["1", "x | y"]]))
        | a | b |
        |---|---|
        | 1 | x \| y |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(_line(cells, rule=number == 1) for number, cells in enumerate(lines))


def _line(cells: Sequence[str], *, rule: bool) -> str:
    escaped = [" ".join(cell.split()).replace("|", "\\|") for cell in cells]
    return f"|{'|'.join(escaped)}|" if rule else f"| {' | '.join(escaped)} |"


def type_words(kind: Any) -> str:
    """Return a type in words: `int | None` is a whole number or `None`.

    Example:
        >>> type_words(tuple[float, float]), type_words(int | None), type_words(Literal["a", "b"])
        ('number, number', 'whole number or `None`', '`a`, `b`')
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is type(None):
        return "`None`"
    if origin is Annotated:
        return type_words(inner[0])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(type_words(one) for one in inner)
    if origin is tuple:
        many = len(inner) == 2 and inner[1] is Ellipsis
        return f"any number of: {type_words(inner[0])}" if many else ", ".join(map(type_words, inner))
    if origin is not None and len(inner) == 2:  # a mapping
        return f"by {type_words(inner[0])}: {type_words(inner[1])}"
    return _WORDS.get(kind, f"`{getattr(kind, '__name__', kind)}`")
