from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from whisper_peft.errors import StorageError
from whisper_peft.reporting.run_report import (
    RunReport,
    commit_of,
    environment_meta,
    read_report,
    write_report,
)


def test_report_survives_the_file(run_folder: Path) -> None:
    report = read_report(run_folder)
    write_report(report, run_folder)
    assert read_report(run_folder) == report
    assert json.loads((run_folder / "report.json").read_text()) == report.to_dict()


def test_predictions_stay_out_of_the_report(run_folder: Path) -> None:
    plain = json.loads((run_folder / "report.json").read_text())
    assert "predictions" not in plain["evaluation"]["before"]
    assert plain["evaluation"]["after"]["wer_interval"] == list(
        read_report(run_folder).evaluation.after.wer_interval
    )


def test_numbers_that_are_not_finite_stay_valid_json(make_run: Callable[..., Path], run_folder: Path) -> None:
    diverged = replace(read_report(run_folder).train, final_loss=math.nan, first_loss=math.inf)
    folder = make_run(train=diverged)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    plain = json.loads((folder / "report.json").read_text(), parse_constant=refuse)
    assert plain["train"]["final_loss"] == "NaN"
    assert math.isnan(read_report(folder).train.final_loss)
    assert read_report(folder).train.first_loss == math.inf


def test_missing_report_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"run-7 has no report\.json"):
        read_report(tmp_path / "run-7")


@pytest.mark.parametrize("content", ["", "{", '{"run": ', "[1, 2]", "\x00"])
def test_damaged_report_is_one_clear_error(run_folder: Path, content: str) -> None:
    (run_folder / "report.json").write_text(content)
    with pytest.raises(StorageError, match=r"report\.json"):
        read_report(run_folder)


def test_report_cut_in_a_character_is_one_clear_error(run_folder: Path) -> None:
    (run_folder / "report.json").write_bytes(b'{"run": "\xc3')
    with pytest.raises(StorageError, match="cannot be read"):
        read_report(run_folder)


def test_all_wrong_fields_are_named_at_once(run_folder: Path) -> None:
    plain = read_report(run_folder).to_dict()
    del plain["evaluation"]["after"]["wer"]
    plain["train"]["steps"] = "many"
    plain["mergee"] = None
    with pytest.raises(StorageError) as caught:
        RunReport.from_dict(plain)
    for field in ("evaluation.after.wer", "train.steps", "mergee"):
        assert field in str(caught.value)


def test_failed_write_keeps_the_old_report(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run_folder / "report.json").read_bytes()
    report = read_report(run_folder)

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        write_report(report, run_folder)
    assert (run_folder / "report.json").read_bytes() == before
    assert not list(run_folder.glob(".*.partial"))


def test_environment_names_versions_and_machine() -> None:
    meta = environment_meta(7, gpu="NVIDIA H200")
    assert meta.versions["torch"].startswith("2.")
    assert meta.versions.keys() >= {"whisper-peft", "transformers", "peft", "jiwer"}
    assert meta.cores >= 1
    assert meta.memory_bytes > 2**28
    assert (meta.seed, meta.gpu) == (7, "NVIDIA H200")


def test_the_commit_of_a_checkout_is_told_and_none_of_another_folder(tmp_path: Path) -> None:
    def git(*args: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org", *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "--quiet", "--message", "First")
    head = git("rev-parse", "--short", "HEAD").strip()
    assert commit_of(tmp_path) == head
    commit_of.cache_clear()
    (tmp_path / "file").write_text("two")
    assert commit_of(tmp_path) == f"{head}-dirty"
    inside = tmp_path / "site-packages"
    inside.mkdir()
    assert commit_of(inside) is None


def test_reporting_never_imports_torch(run_folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from whisper_peft.reporting import figures, ranking, run_report\n"
        "from whisper_peft.reporting.console import summary, training_progress\n"
        "from whisper_peft.reporting.pages import model_card, run_page\n"
        "from whisper_peft.reporting.plots import line_plots\n"
        "assert not {'torch', 'transformers', 'matplotlib.pyplot'} & set(sys.modules), 'at import'\n"
        "run = Path(sys.argv[1]); report = run_report.read_report(run).to_dict()\n"
        "run_page.write_page(run); model_card.write_model_card(report, run); summary.summary(report)\n"
        "assert 'torch' not in sys.modules, 'while writing'\n"
    )
    subprocess.run([sys.executable, "-c", program, str(run_folder)], check=True, timeout=60)
