"""Every command at the top of a recipe, and on the shelf's page, can be typed as it is printed.

Each is read by the command line itself, up to the public function that it calls, which is not run.
"""

import ast
import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

import whisper_peft
from whisper_peft.cli import main
from whisper_peft.recipe.catalog import recipe_names, recipe_script

ROOT = Path(__file__).resolve().parents[2]
SHELF = ROOT / "docs" / "results" / "recipes.md"
CALLED = ("finetune", "transcribe", "label", "learning_curve", "search")


class Called(Exception):
    """A public function was reached, with what the command gave it."""


def printed_by(name):
    """Return the commands at the top of a recipe: the indented lines of its docstring."""
    docstring = ast.get_docstring(ast.parse(recipe_script(name).read_text(encoding="utf-8")))
    return re.findall(r"^ {4}(\S.*)$", docstring, flags=re.MULTILINE)


def shown_on(page):
    """Yield the commands of a page's lines; flags alone are added to the command before them."""
    for line in page.splitlines():
        before = ""
        for code in re.findall(r"`([^`]+)`", line):
            if code.startswith(("whisper-peft ", "python recipes/")):
                before = code
                yield code
            elif code.startswith("--"):
                yield f"{before} {code}"


def typed(command, monkeypatch):
    """Type a command at the top of a checkout; return the function it calls, and what with."""
    for name in CALLED:
        monkeypatch.setitem(vars(whisper_peft), name, calling(name))
    monkeypatch.chdir(ROOT)
    with pytest.raises(Called) as reached:
        run(shlex.split(command, comments=True), monkeypatch)
    return reached.value.args


def calling(name):
    def call(*given, **named):
        raise Called(name, given, named)

    return call


def run(words, monkeypatch):
    match words:
        case ["whisper-peft", *rest]:
            main(args=rest)
        case (
            ["python", script, *rest]
            | ["accelerate", "launch", script, *rest]
            | ["torchrun", "--nproc_per_node", _, script, *rest]
        ):
            monkeypatch.setattr(sys, "argv", [script, *rest])
            runpy.run_path(script, run_name="__main__")
        case _:
            raise AssertionError(f"nothing of ours: {words}")


def prepares(command):
    """Tell whether a command only prepares: a target of the Makefile, or an extra that there is."""
    match shlex.split(command):
        case ["make", target]:
            return re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        case ["pip", "install", wanted]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            extra = re.fullmatch(r"whisper-peft\[(\w+)\]", wanted)
            return extra and extra[1] in project["optional-dependencies"]
    return False


PRINTED = [(name, command) for name in recipe_names() for command in printed_by(name)]


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_says_what_to_type(name):
    assert printed_by(name)


@pytest.mark.parametrize(("name", "command"), PRINTED, ids=[command for _, command in PRINTED])
def test_a_command_at_the_top_of_a_recipe_runs_that_recipe(name, command, monkeypatch):
    if prepares(command):
        return
    function, given, _ = typed(command, monkeypatch)
    if function == "transcribe":
        assert given[0] == f"runs/{name}"
    elif function != "label":
        assert given[0].name == name


def test_every_command_on_the_page_of_the_shelf_can_be_typed(monkeypatch):
    commands = [*shown_on(SHELF.read_text(encoding="utf-8"))]
    functions = [typed(command, monkeypatch)[0] for command in commands]
    assert len(commands) == 13
    assert {*functions} == {"finetune", "label", "learning_curve", "search"}


@pytest.mark.parametrize(
    "command",
    [
        "whisper-peft finetune telephone --data.sauce LibriSpeech",
        "whisper-peft finetune telefone --data.source LibriSpeech",
        "whisper-peft finetune telephone --data.mix my/calls trian=None",
        "python recipes/search.py --data.source my/speech --vary depth",
        "python recipes/pseudo_label.py --data.source my/speech",
        "accelerate launch recipes/lora_librispeech.py        1000 steps",
        "torchrun --nproc_per_node 2 recipes/lora.py",
    ],
)
def test_a_command_that_cannot_be_typed_is_found(command, monkeypatch):
    with pytest.raises((SystemExit, AssertionError, FileNotFoundError)):
        typed(command, monkeypatch)
