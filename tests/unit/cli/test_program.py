"""The program as a whole: its help, its version, and how its process ends."""

import os
import re
import subprocess
import sys
import time

import pytest

import whisper_peft
from tests.unit.cli.command_lines import exit_code


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize(
    "words", [["--help"], ["finetune", "lora-librispeech", "--help"], ["recipes", "list"]]
)
def test_help_imports_no_torch(words, capsys):
    code = (
        "import sys\nfrom whisper_peft.cli import main\n"
        f"try:\n    main(args={words!r})\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'librosa'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    start = time.perf_counter()
    ended = run_python(code)
    with capsys.disabled():
        print(f"\nwhisper-peft {' '.join(words)}: {time.perf_counter() - start:.2f} s")
    assert ended.returncode == 0, ended.stderr


def test_help_names_every_verb(capsys):
    assert exit_code("--help") == 0
    printed = capsys.readouterr().out
    for verb in ("finetune", "evaluate", "merge", "transcribe", "report", "recipes", "doctor"):
        assert re.search(rf"^  {verb} +[A-Z]", printed, re.MULTILINE)


def test_version_is_printed(capsys):
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"whisper-peft {whisper_peft.__version__}\n"


def test_the_package_runs_as_a_module():
    words = [sys.executable, "-m", "whisper_peft", "recipes", "show", "dmo"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "did you mean demo?" in ended.stderr


@pytest.mark.parametrize(
    ("words", "unbuffered", "code"),
    [
        (["recipes", "list"], "", 0),
        (["recipes", "list"], "1", 0),
        (["finetune", "demo", "--help"], "", 0),
        (["--version"], "", 0),
        (["recipes", "show", "dmo"], "", 2),
        (["transcribe", "openai/whisper-tiny.en", "CLIP"], "1", 0),
    ],
    ids=["list", "unbuffered list", "help", "version", "a mistake", "transcribe"],
)
def test_a_reader_that_leaves_early_is_no_error(words, unbuffered, code, prompts_en):
    words = [prompts_en[1]["file_name"] if word == "CLIP" else word for word in words]
    program = "import sys; from whisper_peft.cli import main; main(args=sys.argv[1:])"
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-c", program, *words],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        check=False,
    )
    os.close(writer)
    assert ended.returncode == code
    assert "BrokenPipe" not in ended.stderr
    assert "Traceback" not in ended.stderr
