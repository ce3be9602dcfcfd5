"""Rules of prose that every page keeps, each a line; spelling is codespell's, anchors are Sphinx's.

A notebook's cells of text are a page. `make lint` gives codespell no notebook; it is given these cells here.
"""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.docs.pages import PAGES, ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
READ = [*PAGES, *NOTEBOOKS, ROOT / "CHANGELOG.md"]

RULES = {
    "a word of advertising": r"\b(blazing|seamless|effortless|cutting[- ]edge|state[- ]of[- ]the[- ]art"
    r"|powerful|revolutionary|game[- ]changer|world[- ]class|supercharge|unleash|leverage|delve)\w*",
    "a word that says nothing": r"\b(simply|obviously|of course|basically|needless to say|please note"
    r"|in order to|it should be noted|as you can see|feel free)\b",
    "a word twice": r"\b([a-z]+) \1\b",
    "a link that says nothing": r"\[(here|this|click here|link)\]\(",
    "an exclamation": r"[a-z]!(\s|$)",
    "a space before a comma": r"\w ,(\s|$)",
    "a dash between words": r" [\u2013\u2014] ",
    "a curly quote": r"[\u2018\u2019\u201c\u201d]",
    "American spelling": r"\b(normalized by|behavior|color of|optimizer's|favorite|recognizes)\b",
    "a space at the end of a line": r"[ \t]+$",
    "something left to do": r"\b(TODO|FIXME|XXX|TBD)\b",
}
TWICE_ON_PURPOSE = {"that that", "had had"}
"""Words that may stand twice in a row."""


def text_of(page):
    """Return what a page says: its Markdown, or that of a notebook's cells."""
    if page.suffix == ".md":
        return page.read_text(encoding="utf-8")
    cells = nbformat.read(page, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def prose(text):
    """Return a page without its code, its links' targets and its tables' rules."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"`[^`]*`", "CODE", text)
    return re.sub(r"\]\([^)]*\)", "](LINK)", text)


def faults(text):
    """Yield what a text does against the rules, with the place."""
    for rule, pattern in RULES.items():
        for found in re.finditer(pattern, prose(text), flags=re.MULTILINE):
            if found[0] not in TWICE_ON_PURPOSE:
                yield f"{rule}: {found[0].strip()!r}"


@pytest.mark.parametrize("page", READ, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_keeps_the_rules(page):
    assert not list(faults(text_of(page)))


@pytest.mark.parametrize("page", READ, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_one_title_and_no_skipped_heading(page):
    text = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, flags=re.MULTILINE)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("page", READ, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page):
    text = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)(?:#[^)]*)?\)", re.sub(r"`[^`]*`", "", text))
    assert [link for link in links if not (page.parent / link).exists()] == []


def misspelled(text):
    """Return what codespell finds in a text."""
    spell = Path(sys.executable).with_name("codespell")
    return subprocess.run(
        [spell, "-"], input=text, cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.name)
def test_the_words_of_a_notebook_are_spelled(page):
    assert not misspelled(text_of(page))


def test_a_misspelling_is_found():
    assert "receive" in misspelled("It will recieve speech.")


@pytest.mark.parametrize(
    "text",
    [
        "It is a powerful tool",
        "You can simply run it.",
        "the the end",
        "see [here](a.md)",
        "Done!",
        "a , b",
        "end \u2014 or not",
    ],
)
def test_a_fault_is_found(text):
    assert list(faults(text))
