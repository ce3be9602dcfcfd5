from __future__ import annotations

from collections import Counter
from pathlib import Path

from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.reporting.alignment import align, errors, pairs, worst
from whisper_peft.reporting.json_lines import read_predictions


def test_alignment_counts_equal_the_scores(run_folder: Path) -> None:
    normalize = get_normalizer("marks", "fr")
    for prediction in read_predictions(run_folder).before.values():
        kinds = Counter(word.kind for word in align(prediction.reference, prediction.hypothesis, normalize))
        counted = (kinds["substitute"], kinds["delete"], kinds["insert"], kinds["equal"])
        scored = (prediction.substitutions, prediction.deletions, prediction.insertions, prediction.hits)
        assert counted == scored, prediction.id


def test_alignment_keeps_every_word_of_both_sides() -> None:
    words = align("a b c d", "x a c d e f", str)
    assert [word.reference for word in words if word.reference] == ["a", "b", "c", "d"]
    assert [word.hypothesis for word in words if word.hypothesis] == ["x", "a", "c", "d", "e", "f"]


def test_empty_sides_align() -> None:
    assert [word.kind for word in align("", "a b", str)] == ["insert", "insert"]
    assert [word.kind for word in align("a", "", str)] == ["delete"]
    assert align("", "", str) == ()


def test_worst_has_the_most_word_errors_first(run_folder: Path) -> None:
    scored = read_predictions(run_folder).after
    ranked = worst(scored, 10)
    assert [errors(one) for one in ranked] == sorted((errors(one) for one in scored.values()), reverse=True)[
        :10
    ]
    assert all(errors(one) for one in worst(scored, 1000))


def test_pairs_hold_utterances_scored_twice(run_folder: Path) -> None:
    predictions = read_predictions(run_folder)
    after = {name: one for name, one in predictions.after.items() if name != "markup"}
    paired = pairs(predictions.before, after)
    assert len(paired) == 52
    assert [pair.change for pair in paired] == sorted(pair.change for pair in paired)
    assert all(pair.before.id == pair.after.id for pair in paired)
