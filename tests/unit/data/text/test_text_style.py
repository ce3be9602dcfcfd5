"""How a corpus writes is told from its transcripts."""

import pytest

from whisper_peft.data.text.text_style import choose_text_case, text_style


@pytest.mark.parametrize(
    ("texts", "style"),
    [
        (["NORTHANGER ABBEY", "IT'S FINE"] * 5, "capitals, without punctuation"),
        (["ONE"] * 8 + ["two", "Three"], "mixed case, without punctuation"),
        (["Bonjour.", "À demain !", "Oui"], "mixed case, with punctuation"),
        (["all lower"], "lower case, without punctuation"),
        (["你好。"], "no case, with punctuation"),
        ([], "no case, without punctuation"),
    ],
)
def test_case_and_punctuation_are_told(texts, style):
    assert str(text_style(texts)) == style


def test_capitals_are_learned_in_sentence_case_unless_another_case_is_asked_for():
    capitals, prompts = text_style(["NORTHANGER ABBEY"]), text_style(["Enter your PIN."])
    assert choose_text_case("auto", capitals) == "restore"
    assert choose_text_case("auto", capitals, can_be_heard=False) == "sentence"
    assert choose_text_case("auto", prompts) == "as-is"
    assert choose_text_case("as-is", capitals) == "as-is"
