"""A run that is damaged, diverged, unfinished, long or old has a page too."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.reporting.pages.rendered_page import read_log_again, render
from whisper_peft.errors import StorageError
from whisper_peft.reporting.pages.run_page import write_page
from whisper_peft.reporting.run_report import EvaluationRecord, read_report


@pytest.mark.parametrize("missing", ["log.jsonl", "predictions.jsonl", "recipe.yaml"])
def test_missing_file_leaves_a_note(run_folder: Path, missing: str) -> None:
    (run_folder / missing).unlink()
    read_log_again(run_folder)
    assert f"{missing} is missing" in render(run_folder).text


@pytest.mark.parametrize("name", ["log.jsonl", "predictions.jsonl"])
@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\xfe", b"[]\nnull\n{", b'{"step": true}\n{"step": 1, "loss": "x"}']
)
def test_damaged_lines_leave_the_scores(run_folder: Path, name: str, content: bytes) -> None:
    (run_folder / name).write_bytes(content)
    read_log_again(run_folder)
    page = render(run_folder)
    assert page.value("evaluation.after.wer") == str(read_report(run_folder).evaluation.after.wer)


def test_loss_that_is_not_a_number_is_marked(run_folder: Path) -> None:
    path = run_folder / "log.jsonl"
    path.write_text(re.sub(r'"loss": [\d.]+', '"loss": NaN', path.read_text(), count=5))
    read_log_again(run_folder)
    page = render(run_folder)
    assert "The loss was not a number at 5 steps, first at step 1." in page.text
    assert sum(attributes.get("class") == "gap" for _, attributes in page.tags) == 5
    assert not re.search(r"\bnan\b", page.source, flags=re.IGNORECASE)


def test_figures_that_are_not_finite_are_named(make_run: Callable[..., Path], run_folder: Path) -> None:
    diverged = replace(read_report(run_folder).train, final_loss=math.nan)
    assert "Final loss not a number" in render(make_run(train=diverged)).text


def test_interrupted_run_has_a_page(make_run: Callable[..., Path], run_folder: Path) -> None:
    record = EvaluationRecord(before=read_report(run_folder).evaluation.before, scored_split="test")
    folder = make_run(evaluation=record, merge=None)
    path = folder / "predictions.jsonl"
    before = [line for line in path.read_text().splitlines(keepends=True) if '"when": "before"' in line]
    path.write_text("".join(before))
    page = render(folder)
    assert "after training it was not measured" in page.text
    assert "those with the most word errors before training first" in page.text
    assert "Most improved" not in page.text


def test_run_without_training_has_a_page(make_run: Callable[..., Path]) -> None:
    page = render(make_run(train=None, evaluation=None, merge=None, data=None, adapter=None))
    assert "Training did not end." in page.text
    assert "The WER was not measured." in page.text


def test_page_without_a_report_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no report\.json"):
        write_page(tmp_path)


def test_long_run_stays_a_small_page(run_folder: Path) -> None:
    path = run_folder / "log.jsonl"
    row = json.loads(path.read_text().splitlines()[0])
    path.write_text(
        "".join(json.dumps({**row, "step": step, "loss": 1 + step % 97}) + "\n" for step in range(1, 20_000))
    )
    read_log_again(run_folder)
    assert len(render(run_folder).source) < 450_000
    assert (run_folder / "report.json").stat().st_size < 700_000


def test_report_from_before_the_curves_says_how_to_get_them(make_run: Callable[..., Path]) -> None:
    assert "report.json holds no curves yet" in render(make_run(curves=None)).text
