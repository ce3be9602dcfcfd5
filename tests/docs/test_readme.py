"""The README is true: its tree is the tree, its Python runs and prints what it shows, its commands exist."""

import ast
import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from whisper_peft import scoring

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands():
    lines = "\n".join(blocks("console")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("whisper-peft ")]


def first_line(path):
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def branch(folder, depth):
    """Return a line for each module and each folder of modules below `folder`, deeper ones further right."""
    for path in sorted(folder.iterdir(), key=lambda path: (path.name != "__init__.py", path.name)):
        name = f"{'  ' * depth}{path.name}"
        if (path / "__init__.py").is_file():
            yield f"{name + '/':<38} {first_line(path / '__init__.py')}"
            yield from branch(path, depth + 1)
        elif path.suffix == ".py" and (path.name != "__init__.py" or depth == 1):
            yield f"{name:<38} {first_line(path)}"


def tree():
    """Return every module of the package and every recipe, with the first line of its docstring."""
    folders = ("whisper_peft", "recipes")
    return "\n".join(line for name in folders for line in (f"{name}/", *branch(ROOT / name, 1)))


def test_the_tree_is_the_tree():
    assert tree() in README, f"put this tree into README.md:\n{tree()}"


def test_the_python_example_prints_the_lines_it_shows(tmp_path, monkeypatch):
    (example,) = blocks("python")
    short = example.replace(
        "schedule(epochs=3, ", "scoring(max_utterances=4, health='off'), schedule(max_steps=2, workers=0, "
    )
    assert short != example
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(short, "README.md", "exec"), {"scoring": scoring})
    (shown,) = blocks("text")
    labels = [line[:14] for line in shown.splitlines()]
    assert [line[:14] for line in printed.getvalue().splitlines()[-len(labels) :]] == labels


@pytest.mark.parametrize("line", commands())
def test_every_flag_of_a_command_is_one(line):
    verb, *words = shlex.split(line, comments=True)[1:]
    program = Path(sys.executable).with_name("whisper-peft")
    named = words[:1] if verb == "finetune" and not words[0].endswith(".yaml") else []
    done = subprocess.run([program, verb, *named, "--help"], capture_output=True, text=True, check=True)
    flags = {word for word in words if word.startswith("--")}
    assert flags <= set(re.findall(r"--[\w.-]+", done.stdout))
