"""The tutorials work as they stand: each is run in an empty folder that has the repository's speech."""

import pytest

from tests.docs.pages import ROOT, run_page, steps_of

DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
READ = {"index", "qlora-on-a-colab-t4"}
"""Pages of the folder that run nothing here: one is a list, the other is of a machine with a T4."""

RUN = [page for page in TUTORIALS if page.stem not in READ]
SHORT = [DOCS / "reference" / "errors.md", DOCS / "how-to" / "work-offline.md"]
"""Other pages that show what is printed."""


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_that_shows_commands_is_run(page):
    assert bool(list(steps_of(page.read_text(encoding="utf-8")))) == (page in RUN)


@pytest.mark.parametrize("page", [*RUN, *SHORT], ids=lambda page: page.stem)
def test_a_page_prints_what_it_shows(page, tmp_path, monkeypatch):
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    run_page(page.read_text(encoding="utf-8"))
