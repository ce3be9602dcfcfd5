"""A section of the page of a run, and its figures held against the report that they are read from."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.unit.reporting.pages.rendered_page import leaves, printed_number
from whisper_peft.reporting.pages.run_page import write_page

FIGURE = re.compile(r'<data value="([^"]*)" data-path="([^"]*)">([^<]*)</data>')


def section(folder: Path, name: str) -> str:
    """Return a section of the page as it stands in its source."""
    page = write_page(folder).read_text(encoding="utf-8")
    return page.split(f'<section aria-labelledby="{name}">')[1].split("</section>")[0]


def visible(source: str) -> str:
    """Return what a reader sees of a piece of a page."""
    return " ".join(unescape(re.sub(r"<[^>]+>", "", source)).split())


def report_leaves(folder: Path) -> dict[str, Any]:
    """Return every value of a report by its dotted path."""
    return leaves(json.loads((folder / "report.json").read_text(encoding="utf-8")))


def paths_equal_to_the_report(source: str, folder: Path) -> set[str]:
    """Return the paths of the figures in a piece of a page, each of which is held against the report."""
    measured, found = report_leaves(folder), set()
    for exact, quoted, printed in FIGURE.findall(source):
        path = unescape(quoted)
        assert float(exact) == measured[path], path
        assert printed_number(printed) == pytest.approx(measured[path], rel=1e-2, abs=5e-5), path
        found.add(path)
    return found
