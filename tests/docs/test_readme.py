"""The README is true: its tree is the tree, its Python prints what it shows, its commands run."""

import ast
import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path

from tests.docs.pages import Step, run_step
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


def in_small(line):
    """Return a line of the README for speech that lies here: made-up names are replaced, runs are short."""
    verb, *words = shlex.split(line, comments=True)[1:]
    words = [STANDS_FOR.get(word, word) for word in words if word not in LEFT_OUT]
    words = [word.replace("runs/legal", "runs/mine").replace("runs/other", "runs/libri") for word in words]
    return [verb, *words, *SHORTER.get(verb, [])]


STANDS_FOR = {
    "my/speech": "speech",
    "my.csv": "speech/metadata.jsonl",
    "other/speech": "speech",
    "recordings/": "speech/test",
    "talk.mp3": "speech/test/conf-getpin.flac",
    "LibriSpeech": "speech",
    "train-clean-100": "train",
    "dev-clean": "test",
    "openai/whisper-small": "openai/whisper-tiny.en",
    "es": "en",
    "200": "2",
}
"""Names that the README makes up, and what is there in the test."""

LEFT_OUT = {"ggml", "onnx"}
"""Formats whose export has tests of its own."""

NOT_RUN = {"serve", "benchmark", "doctor", "health"}
"""A server that does not end, minutes of measuring, and a look at the machine; their flags are checked."""

TINY = ["--train.max-steps", "2", "--train.workers", "0", "--eval.max-utterances", "2"]
SHORTER = {
    "finetune": [*TINY, "--eval.no-short-context", "--eval.health", "off", "--merge.no-enabled"],
    "check": ["--data.train", "train", "--data.eval", "test"],
    "augmentations": ["--data.source", "speech", "--data.train", "train", "--data.eval", "test"],
    "evaluate": ["--eval.max-utterances", "2"],
    "export": ["--clips", "2"],
    "label": ["--workers", "0"],
}
"""Flags that keep a line to seconds."""


def test_the_commands_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "tests" / "data" / "prompts" / "en", tmp_path / "speech")
    for line in commands():
        verb, *words = in_small(line)
        if verb not in NOT_RUN:
            run_step(Step(shlex.join(["whisper-peft", verb, *words]), "", is_python=False), {})
    made = ["merged/config.json", "exports/parity.md", "labelled", "scores.json", "runs/look/inspection.html"]
    assert all((tmp_path / name).exists() for name in made)
