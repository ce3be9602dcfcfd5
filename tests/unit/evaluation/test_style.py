"""How transcripts are written is told in numbers."""

import pytest

from whisper_peft.evaluation.style import style_profile


def test_cased_and_punctuated_speech_differs_from_capitals():
    sentences = style_profile(["Mr. Grey paid $1,000, twice.", "Did he?"])
    assert sentences.ends_in_mark == sentences.starts_with_capital == 1.0
    assert sentences.commas_per_100_words == pytest.approx(100 / 7)  # the comma of 1,000 is of the number
    assert sentences.digits_per_100_words == pytest.approx(400 / 7)
    capitals = style_profile(["MR GREY PAID A THOUSAND", "DID HE"])
    assert capitals.ends_in_mark == capitals.commas_per_100_words == 0.0
    assert capitals.all_caps_words == 6 / 7  # A alone may begin a sentence
    assert capitals.capitalised_words == 1.0


@pytest.mark.parametrize("text", ["He said “no.”", "Was er?»", "你好。", "क्या हुआ।", "هل هذا؟"])
def test_marks_that_end_a_sentence_are_known_in_other_scripts_and_before_quotes(text):
    assert style_profile([text]).ends_in_mark == 1.0


def test_scripts_without_case_have_no_capitals_to_lose():
    style = style_profile(["你好", "नमस्ते"])
    assert style.capitalised_words == style.starts_with_capital == 0.0


def test_nothing_written_is_no_style():
    assert style_profile(["", "  "]) == style_profile([])
