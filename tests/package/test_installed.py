"""What is installed is whole: run where the repository is not, by `make test-wheel`."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import whisper_peft
from whisper_peft.benchmarking.processes import reference_script

WHISPER_PEFT = Path(sys.executable).with_name("whisper-peft")

pytestmark = pytest.mark.skipif(
    "WHISPER_PEFT_WHEEL" not in os.environ, reason="a wheel is tested by make test-wheel"
)


def run(folder: Path, *words: str | Path) -> str:
    ended = subprocess.run([WHISPER_PEFT, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    return ended.stdout


def test_the_package_is_the_installed_one() -> None:
    assert Path(whisper_peft.__file__).is_relative_to(sysconfig.get_path("purelib"))
    direct = importlib.metadata.distribution("whisper-peft").read_text("direct_url.json") or "{}"
    assert not json.loads(direct).get("dir_info", {}).get("editable", False)


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").strip() == f"whisper-peft {importlib.metadata.version('whisper-peft')}"


def test_recipes_are_listed_and_copied_and_their_copies_run(tmp_path: Path) -> None:
    names = [line.split()[0] for line in run(tmp_path, "recipes", "list").splitlines() if line.strip()]
    assert {"demo", "lora-librispeech", "qlora-librispeech"} <= set(names)
    run(tmp_path, "recipes", "copy", "lora-librispeech")
    script = tmp_path / "lora_librispeech.py"
    ended = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=True)
    assert "--train.max-steps" in ended.stdout


def test_a_run_from_a_table_to_a_report_and_a_model_that_transcribes(tmp_path: Path, root: Path) -> None:
    prompts = root / "tests" / "data" / "prompts" / "en"
    lines = (prompts / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    with (tmp_path / "mine.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["audio", "text", "split"])
        table.writerows([prompts / row["file_name"], row["text"], row["split"]] for row in rows)
    words = ["--data.source", "mine.csv", "--data.train", "train", "--data.eval", "test"]
    small = ["--train.max-steps", "2", "--train.batch-size", "4", "--eval.max-utterances", "4"]
    run(tmp_path, "finetune", "lora-librispeech", *words, *small, "--output-dir", "run")

    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert report["evaluation"]["after"]["utterances"] == 4
    assert report["merge"]["transcripts_equal"] is True
    assert report["health"] is not None
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<style>" in page
    assert (tmp_path / "run" / "README.md").is_file()
    heard = prompts / rows[0]["file_name"]
    assert run(tmp_path, "transcribe", tmp_path / "run" / "merged", heard).strip()


def test_an_export_is_proved_in_its_own_runtime(tmp_path: Path, root: Path) -> None:
    source = root / "tests" / "data" / "prompts" / "en"
    words = ["--format", "ctranslate2", "--clips", "2", "--data.source", source, "--data.eval", "test"]
    run(tmp_path, "export", "openai/whisper-tiny.en", *words, "--output-dir", tmp_path / "exports")
    assert (tmp_path / "exports" / "ctranslate2-float16" / "model.bin").is_file()


def test_the_reference_of_the_benchmark_lies_where_it_is_looked_for() -> None:
    assert reference_script().is_file()
