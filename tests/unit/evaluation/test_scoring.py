"""Error rates: against hand counts and against jiwer itself."""

import json
from pathlib import Path

import jiwer
import numpy as np
import pytest

from whisper_peft.errors import EvaluationError
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.scoring import (
    Counts,
    align_characters,
    align_words,
    bootstrap_interval,
    paired_interval,
    score,
)

PROMPTS = Path(__file__).parents[2] / "data" / "prompts"
NONE = get_normalizer("none")

# reference, hypothesis, (substitutions, deletions, insertions, hits) counted by hand
HAND_COUNTED = [
    ("the cat sat on the mat", "the cat sat on the mat", (0, 0, 0, 6)),
    ("the cat sat on the mat", "the cat sit on mat", (1, 1, 0, 4)),
    ("the cat", "oh the big cat", (0, 0, 2, 2)),
    ("yes", "no", (1, 0, 0, 0)),
    ("one two three", "", (0, 3, 0, 0)),
    ("", "thank you", (0, 0, 2, 0)),
    ("", "", (0, 0, 0, 0)),
]


@pytest.mark.parametrize(("reference", "hypothesis", "counts"), HAND_COUNTED)
def test_words_are_counted_as_by_hand(reference, hypothesis, counts):
    assert align_words([reference], [hypothesis]) == [Counts(*counts)]


def test_spaces_are_characters():
    assert align_characters(["ab cd"], ["abcd e"]) == [Counts(0, 1, 2, 4)]


def test_corpus_rate_weighs_words_not_utterances():
    scores = score(["a b c d e f g h i", "x"], ["a b c d e f g h i", "y"], normalizer=NONE)
    assert scores.wer == pytest.approx(1 / 10)


def corpus_with_errors():
    rows = [json.loads(line) for line in (PROMPTS / "fr" / "metadata.jsonl").read_text("utf-8").splitlines()]
    references = [row["text"] for row in rows]
    rng = np.random.default_rng(0)
    hypotheses = [
        " ".join(w for w in text.split() if rng.random() > 0.1).replace("é", "e") for text in references
    ]
    return references, hypotheses


def test_real_sentences_score_as_jiwer_scores_them():
    references, hypotheses = corpus_with_errors()
    normalizer = get_normalizer("marks")
    scores = score(references, hypotheses, normalizer=normalizer)
    clean = [normalizer(text) for text in references], [normalizer(text) for text in hypotheses]
    direct = jiwer.process_words(*clean)
    assert 0.05 < scores.wer < 1
    assert scores.wer == pytest.approx(direct.wer, abs=1e-12)
    assert scores.cer == pytest.approx(jiwer.cer(*clean), abs=1e-12)
    assert scores.wer_raw == pytest.approx(jiwer.wer(references, hypotheses), abs=1e-12)
    assert scores.cer_raw == pytest.approx(jiwer.cer(references, hypotheses), abs=1e-12)
    assert scores.words == Counts(direct.substitutions, direct.deletions, direct.insertions, direct.hits)


def test_empty_reference_is_counted_and_what_was_heard_there_is_inserted():
    scores = score(["uh [noise]", "yes sir"], ["thank you", "yes sir"], normalizer=get_normalizer("english"))
    assert scores.empty_references == 1
    assert scores.words == Counts(substitutions=0, deletions=0, insertions=2, hits=2)
    assert scores.wer == 1.0


def test_only_empty_references_give_the_number_of_insertions_as_in_jiwer():
    scores = score(["", ""], ["so", ""], normalizer=NONE)
    assert scores.wer == jiwer.process_words(["", ""], ["so", ""]).wer == 1
    assert np.isfinite(scores.wer_interval).all()


def test_rows_keep_the_raw_text_in_order():
    scores = score(["A.", "B."], ["a", "c"], normalizer=get_normalizer("basic"))
    assert [(row.reference, row.hypothesis, row.words.errors) for row in scores.rows] == [
        ("A.", "a", 0),
        ("B.", "c", 1),
    ]


def test_interval_covers_the_rate_and_repeats_with_the_seed():
    references, hypotheses = corpus_with_errors()
    scores = score(references, hypotheses, normalizer=get_normalizer("marks"), seed=3)
    low, high = scores.wer_interval
    assert low < scores.wer < high
    assert scores == score(references, hypotheses, normalizer=get_normalizer("marks"), seed=3)
    assert (
        scores.wer_interval
        != score(references, hypotheses, normalizer=get_normalizer("marks"), seed=4).wer_interval
    )


def test_interval_agrees_with_the_binomial_one_for_single_words():
    rows = [Counts(1, 0, 0, 0)] * 80 + [Counts(0, 0, 0, 1)] * 320
    low, high = bootstrap_interval(rows, samples=4000)
    half = 1.96 * np.sqrt(0.2 * 0.8 / 400)
    assert (low, high) == pytest.approx((0.2 - half, 0.2 + half), abs=0.006)


def test_paired_interval_sees_a_small_steady_gain_that_separate_intervals_miss():
    rng = np.random.default_rng(1)
    errors = rng.integers(1, 9, size=60)
    before = [Counts(int(e), 0, 0, 10 - int(e)) for e in errors]
    after = [Counts(int(e) - 1, 0, 0, 11 - int(e)) for e in errors]
    change = paired_interval(before, after)
    assert bootstrap_interval(after)[1] > bootstrap_interval(before)[0]
    assert change.difference == pytest.approx(-0.1)
    assert change.interval[1] < 0
    assert change.share_lower == 1.0


def test_paired_interval_of_equal_systems_is_zero():
    rows = [Counts(1, 1, 1, 5), Counts(0, 0, 0, 3)]
    assert paired_interval(rows, rows).interval == (0.0, 0.0)


def test_paired_interval_refuses_other_references():
    with pytest.raises(EvaluationError, match="same utterances"):
        paired_interval([Counts(1, 0, 0, 4)], [Counts(1, 0, 0, 5)])


def test_unequal_numbers_are_refused():
    with pytest.raises(EvaluationError, match="2 references and 1 hypotheses"):
        score(["a", "b"], ["a"], normalizer=NONE)


def test_nothing_to_score_is_refused():
    with pytest.raises(EvaluationError, match="no utterances"):
        score([], [], normalizer=NONE)
