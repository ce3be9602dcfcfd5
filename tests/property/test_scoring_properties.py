"""Laws that every score obeys."""

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.scoring import align_words, score

SENTENCES = st.lists(st.sampled_from(["the", "cat", "sat", "on", "mat", "uh"]), max_size=7).map(" ".join)
PAIRS = st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=6).map(
    lambda pairs: tuple(zip(*pairs, strict=True))
)


@given(PAIRS)
def test_score_equals_jiwer(pair):
    references, hypotheses = map(list, pair)
    scores = score(references, hypotheses, normalizer=get_normalizer("none"), bootstrap_samples=100)
    direct = jiwer.process_words(references, hypotheses)
    assert scores.wer == pytest.approx(direct.wer)
    assert scores.words.errors == direct.substitutions + direct.deletions + direct.insertions
    assert scores.wer_interval[0] <= scores.wer_interval[1]


@given(PAIRS)
def test_each_word_of_both_sides_is_accounted_for(pair):
    references, hypotheses = map(list, pair)
    for reference, hypothesis, counts in zip(*pair, align_words(references, hypotheses), strict=True):
        assert counts.reference_length == len(reference.split())
        assert counts.hits + counts.substitutions + counts.insertions == len(hypothesis.split())


@settings(max_examples=300)
@given(st.text(max_size=40), st.sampled_from(["english", "basic", "marks", "none"]))
def test_normalizers_accept_any_text(text, name):
    normalized = get_normalizer(name)(text)
    assert normalized == " ".join(normalized.split())


@settings(max_examples=300)
@given(st.text(max_size=40))
def test_marks_is_a_projection(text):
    marks = get_normalizer("marks")
    assert marks(marks(text)) == marks(text)
