"""Normalisers: what counts as the same word."""

import pytest

from whisper_peft.errors import EvaluationError
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.model.checkpoints.whisper_tokenizers import english_spelling

SAMPLES = {
    "hi": ("हिन्दी में बात करें।", "हिन्दी में बात करें"),
    "th": ("สวัสดีครับ!", "สวัสดีครับ"),
    "ar": ("«مُحَمَّد» ذهبــ إلى البيت؟", "مُحَمَّد ذهب إلى البيت"),
    "fr": ("Où est l'Élève – « là » ?", "où est l élève là"),
    "tr": ("İstanbul'da", "istanbul da"),
    "ta": ("தமிழ், மொழி.", "தமிழ் மொழி"),
}


@pytest.mark.parametrize("language", SAMPLES)
def test_marks_keeps_letters_whole_and_drops_punctuation(language):
    text, expected = SAMPLES[language]
    assert get_normalizer("auto", language)(text) == expected


def test_basic_shreds_devanagari_and_marks_does_not():
    word = "हिन्दी"
    assert len(get_normalizer("basic")(word).split()) > 1
    assert get_normalizer("marks")(word) == word


@pytest.mark.parametrize("text", ["❤️ ok", "ok 1️⃣", "ok ´", "\ufeffok\u00ad", "ok 👩‍👩‍👧"])
def test_marks_leaves_no_invisible_word_behind(text):
    assert [word for word in get_normalizer("marks")(text).split() if not word.isalnum()] == []


def test_composed_and_decomposed_letters_are_the_same_word():
    marks = get_normalizer("marks")
    assert marks("e\u0301te\u0301") == marks("été")


def test_words_in_brackets_are_not_scored():
    for name in ("english", "basic", "marks"):
        assert get_normalizer(name)("[Music] oui (rires) non").split() == ["oui", "non"]


@pytest.mark.parametrize("language", ["en", "English", "<|en|>", None])
def test_auto_is_english_for_english(language):
    assert get_normalizer("auto", language).name == "english"


@pytest.mark.parametrize("language", ["fr", "hindi", "zh"])
def test_auto_is_marks_for_other_languages(language):
    assert get_normalizer("auto", language).name == "marks"


def test_english_unites_spelling_numbers_and_contractions():
    english = get_normalizer("english")
    assert english("Mr. Grey can't analyse twenty-five colours, uh.") == english(
        "mister gray cannot analyze 25 colors".replace("cannot", "can not")
    )


def test_spelling_map_is_whole():
    assert len(english_spelling()) == 1739
    assert english_spelling()["analyse"] == "analyze"


def test_none_changes_white_space_only():
    assert get_normalizer("none")("  Ça,\tva ? ") == "Ça, va ?"


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(EvaluationError, match="did you mean english"):
        get_normalizer("englsh")
