"""Reference pages that are made from the package itself: nothing in them is copied by hand.

A page says where, in a line of its own: `<!-- generated: recipe-fields -->`. When the site is built, the
Markdown of that name takes the place of the line. Each is a function without arguments, so that it can be
read and tested alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from sphinx.application import Sphinx

from generated_reference.command_line import command_line
from generated_reference.errors import error_classes
from generated_reference.python_api import python_api
from generated_reference.recipe_fields import recipe_fields
from generated_reference.report_schema import report_schema

GENERATED: dict[str, Callable[[], str]] = {
    "command-line": command_line,
    "errors": error_classes,
    "python-api": python_api,
    "recipe-fields": recipe_fields,
    "report-schema": report_schema,
}
"""What can stand in a page, by its name."""

_MARKER = re.compile(r"^<!-- generated: ([\w-]+) -->$", flags=re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\(([\w./-]+)\)")


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx fill the pages in as it reads them."""
    app.connect("source-read", _fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def fill_in(page: str) -> str:
    """Return a page with what is generated in the place of its markers.

    Raises:
        KeyError: If a marker names nothing that is generated.
    """
    return _MARKER.sub(lambda marker: GENERATED[marker[1]](), page)


def name_folders(page: str, folder: Path) -> str:
    """Return a page in which links to folders of the repository, which are no pages, are their names.

    Args:
        page: The page's text.
        folder: Where it lies.
    """
    return _LINK.sub(lambda link: f"`{link[1]}`" if (folder / link[2]).is_dir() else link[0], page)


def _fill_in(app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = name_folders(fill_in(source[0]), Path(app.env.doc2path(name)).parent)
