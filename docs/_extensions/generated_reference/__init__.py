"""Reference pages that are made from the package itself: nothing in them is copied by hand.

A page says where, in a line of its own: `<!-- generated: recipe-fields -->`. When the site is built, the
Markdown of that name takes the place of the line. Each is a function without arguments, so that it can be
read and tested alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable

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


def _fill_in(_app: Sphinx, _name: str, source: list[str]) -> None:
    source[0] = fill_in(source[0])
