from __future__ import annotations

import math
from pathlib import Path

from whisper_peft.reporting.json_lines import read_log, read_predictions


def test_resumed_steps_stand_once_as_repeated(run_folder: Path) -> None:
    log = read_log(run_folder)
    assert [row["step"] for row in log.training] == list(range(1, 73))
    assert [row["step"] for row in log.evaluations] == [18, 36, 54, 72]
    written = (run_folder / "log.jsonl").read_text().splitlines()
    repeated = [line for line in written if '"step": 41,' in line]
    assert len(repeated) == 2
    assert f'"loss": {log.training[40]["loss"]}' in repeated[1]
    assert log.notes == ()


def test_torn_and_foreign_lines_are_counted(run_folder: Path) -> None:
    path = run_folder / "log.jsonl"
    path.write_text(path.read_text() + '{"note": 1}\n[]\n{"step": 73, "lo')
    log = read_log(run_folder)
    assert log.notes == ("3 damaged lines of log.jsonl are left out.",)
    assert len(log.training) == 72


def test_loss_that_is_not_a_number_is_noted(run_folder: Path) -> None:
    path = run_folder / "log.jsonl"
    path.write_text(path.read_text() + '{"step": 73, "loss": NaN}\n{"step": 74, "loss": Infinity}\n')
    log = read_log(run_folder)
    assert log.notes == ("The loss was not a number at 2 steps, first at step 73.",)
    assert math.isnan(log.curve("loss")[72][1])


def test_missing_column_leaves_rows_out(run_folder: Path) -> None:
    path = run_folder / "log.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 0.5, "grad_norm": 3}\n')
    assert read_log(run_folder).curve("grad_norm") == ((2.0, 3.0),)


def test_predictions_are_told_apart_by_when(run_folder: Path) -> None:
    predictions = read_predictions(run_folder)
    assert len(predictions.before) == len(predictions.after) == 53
    assert predictions.before["empty"].hypothesis == ""
    assert predictions.after["empty"].hypothesis == "Aucun autre message"


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
