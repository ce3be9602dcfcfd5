"""The example plug-in package does what its page says: installed, used by name, and held to the contracts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "how-to" / "plug-in-example"
WHISPER_PEFT = Path(sys.executable).with_name("whisper-peft")
PAGE = (ROOT / "docs" / "how-to" / "write-a-plug-in.md").read_text(encoding="utf-8")
FILES = [
    file
    for file in sorted(EXAMPLE.rglob("*"))
    if file.suffix in (".py", ".toml") and file.name != "__init__.py"
]

Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return what runs a command with the example installed, and gives what it printed."""
    place = tmp_path_factory.mktemp("site")
    folder = tmp_path_factory.mktemp("work")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*pip, "--target", str(place), str(EXAMPLE)], check=True, capture_output=True)

    def run(*words: str | Path) -> str:
        environment = os.environ | {"PYTHONPATH": f"{place}{os.pathsep}{ROOT}"}
        ended = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
        return ended.stdout

    return run


@pytest.fixture(scope="module")
def sittings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return sittings made of the English prompts: several to a recording, and their times."""
    folder = tmp_path_factory.mktemp("sittings")
    for split, prompts in (("train", "train"), ("dev", "test")):
        (folder / split).mkdir()
        write_sitting(folder / split / "monday", prompts_of(prompts)[:4])
    return folder


def prompts_of(split: str) -> list[dict[str, Any]]:
    prompts = ROOT / "tests" / "data" / "prompts" / "en"
    rows = [
        json.loads(line) for line in (prompts / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return [{**row, "file_name": prompts / row["file_name"]} for row in rows if row["split"] == split]


def write_sitting(path: Path, rows: list[dict[str, Any]]) -> None:
    sounds, rates = zip(*(soundfile.read(row["file_name"]) for row in rows), strict=True)
    ends = np.cumsum([len(sound) / rates[0] for sound in sounds])
    starts = [0.0, *ends[:-1]]
    soundfile.write(path.with_suffix(".flac"), np.concatenate(sounds), rates[0])
    speeches = [
        f'<speech speaker="{row["speaker_id"]}" from="{start}" to="{end}">{row["text"]}</speech>'
        for row, start, end in zip(rows, starts, ends, strict=True)
    ]
    path.with_suffix(".xml").write_text(f"<sitting>{''.join(speeches)}</sitting>", encoding="utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_page_shows_every_file_as_it_is(file: Path) -> None:
    language = {".py": "python", ".toml": "toml"}[file.suffix]
    name, content = file.relative_to(EXAMPLE).as_posix(), file.read_text(encoding="utf-8")
    assert f"`{name}`:\n\n```{language}\n{content}```" in PAGE


def test_its_recipe_is_listed_with_the_package_it_comes_from(run: Run) -> None:
    lines = run(WHISPER_PEFT, "recipes", "list").splitlines()
    (line,) = [line for line in lines if line.startswith("parliament")]
    assert line.split(maxsplit=1)[1] == "from the package whisper-peft-parliament"


def test_it_trains_exports_and_keeps_its_contracts(run: Run, sittings: Path, tmp_path: Path) -> None:
    words = ["--data.source", f"parliament:{sittings}", "--train.max-steps", "2", "--train.batch-size", "2"]
    scored = ["--eval.no-before", "--eval.no-short-context", "--eval.max-utterances", "1"]
    quick = ["--train.workers", "0", "--eval.health", "off", *scored]
    folder = tmp_path / "run"
    run(WHISPER_PEFT, "finetune", "parliament", *words, *quick, "--output-dir", folder)

    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["augment"]["custom"] == ["parliament.chamber:in_chamber"]
    assert recipe["train"]["trackers"] == ["parliament.table:Table"]
    table = (folder / "table.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[:3] for line in table] == [["parliament", "step", str(step)] for step in (1, 2)]

    run(
        WHISPER_PEFT,
        "export",
        folder,
        "--format",
        "numpy",
        "--clips",
        "1",
        "--output-dir",
        tmp_path / "exports",
    )
    (archive,) = (tmp_path / "exports").rglob("weights.npz")
    with np.load(archive) as weights:
        assert weights["model.encoder.conv1.weight"].shape == (384, 80, 3)


def test_its_own_tests_pass(run: Run) -> None:
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLE / "tests")
