"""Pages of the documentation, run as they stand: their commands and their Python, in order, in one folder.

What is run: blocks marked `console`, whose lines after `$ ` are typed, and blocks marked `python`. What
stands below a command, or in a block marked `text` right after Python, is what it printed. Blocks marked
otherwise (`bash` for what installs or needs the network, `yaml`, `csv`) are only read.

How what is printed is compared: line by line, in order, where

* a line `...` stands for any lines, and `...` within a line for anything in it;
* times (`1 min 05 s`), sizes (`1.83 GiB`) and numbers with a decimal point (`12.09 %`, `3e-4`) are compared
  by their shape, as they depend on the machine and on rounding; whole numbers and words as they are;
* runs of spaces, as in tables, count as one, and spaces at the ends of lines do not count.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

from whisper_peft.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))]
"""What readers are shown."""

LONGEST_S = 600
"""How long a command that is bash's may take: one that hangs fails."""

FENCE = re.compile(r"^```([\w-]+)\n(.*?)^```$\n*(?:^```text\n(.*?)^```$)?", flags=re.MULTILINE | re.DOTALL)
HERE_DOCUMENT = re.compile(r"<<'?(\w+)'?")
SHAPES = (
    (re.compile(r"\b\d[\d.,]* (KiB|MiB|GiB|kB|MB|GB)\b"), "<size>"),
    (re.compile(r"\b(\d+ (h|min) )*\d+(\.\d+)? (s|min|h)\b"), "<time>"),
    (re.compile(r"[+-]?\b\d[\d,]*\.\d+(e[+-]?\d+)?|[+-]?\b\d+e[+-]?\d+"), "<number>"),
    (re.compile(r"[ \t]+"), " "),
)


@dataclass(frozen=True)
class Step:
    """A command or a block of Python, and the lines that it is said to print."""

    code: str
    shown: str
    is_python: bool


def steps_of(page: str) -> Iterator[Step]:
    """Yield what a page runs, in order."""
    for kind, body, printed in FENCE.findall(page):
        if kind == "python":
            yield Step(body, printed, is_python=True)
        elif kind == "console":
            yield from _commands(body)


def _commands(body: str) -> Iterator[Step]:
    lines = iter(body.splitlines())
    command, shown = "", []
    for line in lines:
        if not line.startswith("$ "):
            shown.append(line)
            continue
        if command:
            yield Step(command, "\n".join(shown), is_python=False)
        command, shown = line[2:], []
        while command.endswith("\\"):
            command = command[:-1] + next(lines).strip()
        if here := HERE_DOCUMENT.search(command):
            while command.splitlines()[-1] != here[1]:
                command += "\n" + next(lines)
    if command:
        yield Step(command, "\n".join(shown), is_python=False)


def in_place(text: str, changes: dict[str, str]) -> str:
    """Return a text with some words in place of others, each of which has to be there."""
    for words, others in changes.items():
        assert words in text, words
        text = text.replace(words, others)
    return text


def run_page(page: str) -> None:
    """Run a page in the current folder, in this process: `whisper-peft` is called, the rest is bash's.

    Raises:
        AssertionError: If a step fails, or prints something else than it shows.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    for step in steps_of(page):
        compare(step, run_step(step, names))


def run_step(step: Step, names: dict[str, Any]) -> str:
    """Return what a step prints, errors included; `names` are those of the page's Python.

    Raises:
        AssertionError: If the step fails.
    """
    printed = io.StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            _run(step, names)
    except (Exception, SystemExit) as error:
        told = "".join(traceback.format_exception(error))
        raise AssertionError(f"this failed:\n{step.code}\nwith\n{printed.getvalue()}\n{told}") from error
    return printed.getvalue()


def _run(step: Step, names: dict[str, Any]) -> None:
    words = [] if step.is_python or "\n" in step.code else shlex.split(step.code, comments=True)
    if step.is_python:
        exec(compile(step.code, "page", "exec"), names)
    elif words and words[0] == "whisper-peft" and not {"|", ">", "&&"} & set(words):
        _call(words[1:], may_fail=bool(re.search(r"^error: ", step.shown, re.MULTILINE)))
    else:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        bash = ["bash", "-euo", "pipefail", "-c", step.code]
        shell = {**os.environ, "PATH": path}
        done = subprocess.run(bash, env=shell, stdout=PIPE, stderr=STDOUT, text=True, timeout=LONGEST_S)
        print(done.stdout, end="")
        done.check_returncode()


def _call(words: list[str], *, may_fail: bool) -> None:
    try:
        main(args=words)
    except SystemExit as end:
        if end.code not in (None, 0) and not may_fail:
            raise


def compare(step: Step, printed: str) -> None:
    """Raise an `AssertionError` where what was printed is not what is shown, if anything is."""
    if step.shown.strip() and not re.fullmatch(_pattern(shape(step.shown)), shape(printed) + "\n"):
        raise AssertionError(f"{step.code}\nshows\n{step.shown}\nand printed\n{printed}")


def shape(text: str) -> str:
    """Return a text in which figures that depend on the machine are replaced by what they are."""
    for figure, name in SHAPES:
        text = figure.sub(name, text)
    return "\n".join(line.strip() for line in text.strip().splitlines())


def _pattern(shown: str) -> str:
    """Return the pattern of what may be printed, line by line."""
    return "".join(
        r"(?:.*\n)*?" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + r"\n"
        for line in shown.splitlines()
    )
