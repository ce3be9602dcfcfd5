"""The page of the architecture is true: its modules are there, its layers are the linter's."""

import re
import tomllib

from tests.docs.pages import ROOT
from whisper_peft.recipe.sections import Recipe, Section

PACKAGE = ROOT / "whisper_peft"
PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")


def in_code(text):
    return re.findall(r"`([^`\n]+)`", text)


def modules_that_are_not_there(page):
    """Yield modules that lie neither at the top, in the package, nor in a room that their paragraph names."""
    for paragraph in re.split(r"\n\s*\n", page):
        names = in_code(paragraph)
        places = [ROOT, PACKAGE, *(PACKAGE / name for name in names if (PACKAGE / name).is_dir())]
        modules = [name for name in names if name.endswith(".py")]
        yield from (name for name in modules if not any((place / name).is_file() for place in places))


def test_every_module_that_is_named_is_there():
    assert sum(name.endswith(".py") for name in in_code(PAGE)) > 50
    assert list(modules_that_are_not_there(PAGE)) == []


def test_a_module_that_is_not_where_it_is_said_to_be_is_found():
    page = (
        "In `deploy/adapters` (`combination.py`).\n\nIn `deploy` (`combination.py`, `merging.py`, `old.py`)."
    )
    assert list(modules_that_are_not_there(page)) == ["combination.py", "old.py"]


def test_the_layers_are_those_that_the_linter_holds():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    (shown,) = re.findall(r"^```\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert [layer.strip() for layer in shown.split(">")] == contract["layers"]


def test_the_sections_are_those_of_a_recipe():
    (listed,) = re.findall(r"frozen sections \((.*?)\)", PAGE)
    assert in_code(listed) == [name for name, value in Recipe() if isinstance(value, Section)]
