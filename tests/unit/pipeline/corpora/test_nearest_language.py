"""Speech in a language without a token: advice, and the option to take it."""

from types import SimpleNamespace

import pytest

from whisper_peft.data.sources.opening import open_split
from whisper_peft.errors import DataError
from whisper_peft.model.checkpoints.finding import resolve_checkpoint
from whisper_peft.model.checkpoints.whisper_tokenizers import load_tokenizer
from whisper_peft.pipeline.corpora.nearest_language import ToldSource, settle_language
from whisper_peft.recipe.sections import DataSection, Recipe

SCOTS = (
    "Aw human sowels is born free and equal in dignity and richts. They are tochered wi mense and conscience "
    "and shuld guide theirsels ane til ither in a speirit o britherheid."
)
"""Article 1 of the Universal Declaration of Human Rights."""


@pytest.fixture(scope="module")
def multilingual():
    """Return what of a multilingual checkpoint is asked for."""
    tokenizer, _ = load_tokenizer(resolve_checkpoint("openai/whisper-base"), 51_865)
    return SimpleNamespace(is_multilingual=True, tokenizer=tokenizer)


def opened(*languages):
    rows = [{"audio": "a.wav", "text": SCOTS, "language": language} for language in languages]
    return open_split(DataSection(source={"train": rows, "test": rows}, train="train", eval="test"), "train")


def test_a_language_that_whisper_has_stays(multilingual):
    for language in ("French", "fr", None):
        told = settle_language(language, opened("en", None), multilingual)
        assert (told.language, told.sentence, told.replaces) == (language, None, False)


def test_a_language_without_a_token_is_refused_with_the_nearest_and_the_evidence(multilingual):
    with pytest.raises(DataError) as caught:
        settle_language("sco", opened(None), multilingual)
    assert "no token for language 'sco'" in caught.value.what
    assert "English (en) 1" in caught.value.why
    assert "guess from spelling" in caught.value.why
    assert "--model.language en" in caught.value.todo
    assert "--model.language nearest" in caught.value.todo


def test_a_mistyped_language_is_suggested_too(multilingual):
    with pytest.raises(DataError, match="did you mean french"):
        settle_language("frnech", opened(None), multilingual)


def test_nearest_takes_the_advice_and_says_why(multilingual):
    told = settle_language("nearest", opened(None), multilingual)
    assert told.language == "en"
    assert told.sentence.startswith("model.language nearest is en: by the tokens of 1 transcripts")
    assert told.recipe(Recipe()).model.language == "en"


def test_rows_in_a_language_without_a_token_are_told_the_one_that_is_named(multilingual):
    source = opened("sco", "fr", None)
    told = settle_language("English", source, multilingual)
    assert "rows in sco are told English" in told.sentence
    assert [row.language for row in told.source(source)] == ["English", "fr", None]
    assert [row.language for row in told.source(source).after(1, lambda row: True)] == ["fr", None]


def test_rows_in_a_language_without_a_token_are_refused_where_none_is_named(multilingual):
    with pytest.raises(DataError, match="no token for language 'sco'"):
        settle_language(None, opened("sco"), multilingual)


def test_a_source_that_is_told_otherwise_is_the_same_source(multilingual):
    source = opened("sco")
    told = ToldSource(source, "en")
    for name in ("name", "split", "sentence", "is_stream", "count", "skipped"):
        assert getattr(told, name) == getattr(source, name)


def test_an_english_only_checkpoint_has_no_nearest_language(multilingual):
    english = SimpleNamespace(is_multilingual=False, tokenizer=None)
    assert settle_language(None, opened("sco"), english).language is None
    with pytest.raises(DataError, match="English-only"):
        settle_language("nearest", opened(None), english)


def test_rows_without_text_tell_nothing(multilingual):
    rows = [{"audio": "a.wav", "text": " "}]
    source = open_split(
        DataSection(source={"train": rows, "test": rows}, train="train", eval="test"), "train"
    )
    with pytest.raises(DataError, match="no text to tell the language from"):
        settle_language("nearest", source, multilingual)
