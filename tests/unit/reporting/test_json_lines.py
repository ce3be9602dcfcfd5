from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from whisper_peft.reporting.json_lines import read_curves, read_predictions


def test_resumed_steps_stand_once_as_repeated(run_folder: Path) -> None:
    curves = read_curves(run_folder)
    assert curves.training["loss"].steps == tuple(range(1, 73))
    assert curves.evaluations["eval_wer"].steps == (18, 36, 54, 72)
    written = (run_folder / "log.jsonl").read_text().splitlines()
    repeated = [json.loads(line) for line in written if '"step": 41,' in line]
    assert len(repeated) == 2
    assert curves.training["loss"].values[40] == pytest.approx(repeated[1]["loss"], rel=1e-5)
    assert curves.notes == ()


def test_an_evaluation_after_the_checkpoint_that_a_run_went_back_to_is_gone(run_folder: Path) -> None:
    rows = [
        {"step": 1, "loss": 3.0},
        {"step": 2, "loss": 2.0},
        {"step": 2, "eval_wer": 0.9},
        {"step": 2, "loss": 1.0},
    ]
    (run_folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    curves = read_curves(run_folder)
    assert curves.training["loss"].values == (3.0, 1.0)
    assert curves.evaluations == {}


def test_torn_and_foreign_lines_are_counted(run_folder: Path) -> None:
    path = run_folder / "log.jsonl"
    path.write_text(path.read_text() + '{"note": 1}\n[]\n{"step": NaN, "loss": 1}\n{"step": 73, "lo')
    curves = read_curves(run_folder)
    assert curves.notes == ("4 damaged lines of log.jsonl are left out.",)
    assert curves.training["loss"].rows == 72


def test_loss_that_is_not_a_number_is_noted(run_folder: Path) -> None:
    path = run_folder / "log.jsonl"
    path.write_text(path.read_text() + '{"step": 73, "loss": NaN}\n{"step": 74, "loss": Infinity}\n')
    curves = read_curves(run_folder)
    assert curves.notes == ("The loss was not a number at 2 steps, first at step 73.",)
    assert math.isnan(curves.training["loss"].values[72])
    assert curves.training["loss"].not_finite == 2


def test_missing_column_leaves_rows_out(run_folder: Path) -> None:
    path = run_folder / "log.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 0.5, "grad_norm": 3, "mine": "x"}\n')
    curves = read_curves(run_folder)
    assert (curves.training["grad_norm"].steps, curves.training["grad_norm"].values) == ((2,), (3.0,))
    assert "mine" not in curves.training


def test_predictions_are_told_apart_by_when(run_folder: Path) -> None:
    predictions = read_predictions(run_folder)
    assert len(predictions.before) == len(predictions.after) == 53
    assert predictions.before["empty"].hypothesis == ""
    assert predictions.after["empty"].hypothesis == "Aucun autre message"


def test_what_was_heard_at_cut_context_stands_by_itself(run_folder: Path) -> None:
    path = run_folder / "predictions.jsonl"
    rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
    again = [row.replace('"when": "after"', '"when": "after_short"') for row in rows if '"after"' in row]
    path.write_text("".join([*rows, *again]), encoding="utf-8")
    predictions = read_predictions(run_folder)
    assert predictions.after_short == predictions.after
    assert predictions.notes == ()


def test_utterances_of_one_id_stand_each_for_itself(run_folder: Path) -> None:
    path = run_folder / "predictions.jsonl"
    rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(row for row in rows for _ in range(2)), encoding="utf-8")
    predictions = read_predictions(run_folder)
    assert predictions.before.keys() == predictions.after.keys()
    assert len(predictions.before) == 2 * 53
    assert [one.id for one in predictions.before.values()].count("empty") == 2


def test_empty_and_damaged_predictions_are_noted(run_folder: Path) -> None:
    path = run_folder / "predictions.jsonl"
    path.write_text("")
    assert read_predictions(run_folder).notes == ("predictions.jsonl holds no utterances.",)
    path.write_text('{"when": "before", "id": "x"}\n{"when": "later"}\nnull\n')
    assert read_predictions(run_folder).notes[0] == "3 damaged lines of predictions.jsonl are left out."


def test_line_separators_within_text_do_not_split_rows(run_folder: Path) -> None:
    path = run_folder / "predictions.jsonl"
    path.write_text(
        path.read_text(encoding="utf-8").replace("Aucun autre", "Aucun\u2028autre"), encoding="utf-8"
    )
    assert read_predictions(run_folder).notes == ()
