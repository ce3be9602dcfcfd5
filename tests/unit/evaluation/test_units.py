"""In scripts without spaces, characters are the words."""

import pytest

from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.scoring import score
from whisper_peft.evaluation.units import join_characters, separate_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("今天天气", "今 天 天 气"),
        ("スーパーで買う", "ス ー パ ー で 買 う"),
        ("น้ำใจ", "น้ำ ใ จ"),
        ("ສະບາຍ", "ສ ະ ບ າ ຍ"),
        ("ភាសា", "ភា សា"),
        ("我用iPhone打电话", "我 用 iPhone 打 电 话"),
        ("한국어 문장", "한국어 문장"),
        ("हिन्दी में", "हिन्दी में"),
        ("plain words", "plain words"),
    ],
)
def test_characters_of_scripts_without_spaces_are_words(text, words):
    assert separate_words(text) == words


@pytest.mark.parametrize("language", ["zh", "ja", "th", "lo", "my", "yue"])
def test_one_wrong_character_is_no_wrong_sentence(language):
    said = {"zh": "今天天气很好", "ja": "今日は天気です", "th": "วันนี้อากาศดี", "lo": "ມື້ນີ້ອາກາດດີ"}
    text = said.get(language, "ယနေ့ရာသီဥတု" if language == "my" else "今日天氣好好")
    scores = score(
        [text], [text[:-1] + "X"], normalizer=get_normalizer("auto", language), bootstrap_samples=100
    )
    assert 0 < scores.wer < 0.3
    assert 0 < scores.wer_raw < 0.3


def test_spaces_between_characters_are_no_errors():
    normalizer = get_normalizer("auto", "zh")
    scores = score(["今天 天气"], ["今天天气。"], normalizer=normalizer, bootstrap_samples=100)
    assert scores.wer == scores.cer == 0.0
    assert scores.cer_raw == 0.25  # the mark alone


def test_words_of_other_scripts_keep_their_spaces():
    assert join_characters("two words 和 三 个") == "two words和三个"
