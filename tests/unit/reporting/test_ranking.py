from __future__ import annotations

from pathlib import Path

from whisper_peft.reporting.json_lines import read_predictions
from whisper_peft.reporting.ranking import by_errors, errors, pairs


def test_most_word_errors_come_first(run_folder: Path) -> None:
    scored = read_predictions(run_folder).after
    ranked = [errors(scored[name]) for name in by_errors(scored)]
    assert len(ranked) == len(scored)
    assert ranked == sorted(ranked, reverse=True)


def test_pairs_hold_utterances_scored_twice(run_folder: Path) -> None:
    predictions = read_predictions(run_folder)
    after = {name: one for name, one in predictions.after.items() if name != "markup"}
    paired = pairs(predictions.before, after)
    assert len(paired) == 52
    assert [pair.change for pair in paired] == sorted(pair.change for pair in paired)
    assert all(pair.before.id == pair.after.id for pair in paired)
