"""Profiles of Whisper's languages, and which of them a text is written most like."""

import json
from importlib.resources import files

import pytest
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from whisper_peft.data.text.language_profiles import (
    KEPT_TOKENS,
    LanguageProfile,
    abridged,
    known_profiles,
    nearest_languages,
    profile,
)
from whisper_peft.model.checkpoints.finding import resolve_checkpoint
from whisper_peft.model.checkpoints.whisper_tokenizers import load_tokenizer

ARTICLES = {
    "ast": "Tolos seres humanos nacen llibres y iguales en dignidá y drechos y, pola mor de la razón y la "
    "conciencia de so, han comportase hermaniblemente los unos colos otros.",
    "ceb": "Ang tanang katawhan gipakatawo nga may kagawasan ug managsama sa kabililhon. Sila gigasahan sa "
    "salabutan ug tanlag og mag-ilhanay isip managsoon sa usa'g-usa diha sa diwa sa ospiritu.",
    "ky": "Бардык адамдар өз беделинде жана укуктарында эркин жана тең укуктуу болуп жаралат. Алардын "
    "аң-сезими менен абийири бар жана бири-бирине бир туугандык мамилекылууга тийиш.",
}
"""Article 1 of the Universal Declaration of Human Rights, in languages that Whisper has no token for."""


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(resolve_checkpoint("openai/whisper-base"), 51_865)[0]


@pytest.mark.parametrize(("language", "relative"), [("ast", "es"), ("ceb", "tl"), ("ky", "kk")])
def test_a_relative_is_nearest(tokenizer, language, relative):
    found = nearest_languages(profile([ARTICLES[language]], tokenizer), known_profiles())
    assert found[0].code == relative
    assert found[0].similarity > found[1].similarity > found[2].similarity > 0


def test_real_transcripts_find_their_own_language(tokenizer, prompts_fr, prompts_en):
    for code, prompts in (("fr", prompts_fr), ("en", prompts_en)):
        texts = [row["text"] for row in prompts]
        for written in (texts, [text.upper() for text in texts]):
            assert nearest_languages(profile(written, tokenizer), known_profiles())[0].code == code


def test_languages_in_another_script_are_no_neighbours(tokenizer):
    found = nearest_languages(profile([ARTICLES["ky"]], tokenizer), known_profiles(), most=100)
    assert {one.code for one in found if one.similarity == 0} >= {"en", "zh", "ar", "hi"}


def test_every_profile_is_of_a_language_of_whispers_and_small():
    profiles = known_profiles()
    assert set(LANGUAGES) - set(profiles) == {"as", "ba", "sd"}
    assert all(len(one.tokens) <= KEPT_TOKENS for one in profiles.values())
    assert len((files("whisper_peft.data.text") / "language_profiles.json").read_bytes()) < 300_000


def test_fertility_tells_what_a_word_costs(tokenizer):
    costs = {code: one.tokens_per_word for code, one in known_profiles().items()}
    assert costs["en"] < costs["fr"] < costs["fi"] < costs["ml"]
    text = profile(["Hello hello"], tokenizer)
    assert text.tokens_per_word == 1.0
    assert text.tokens == {next(iter(text.tokens)): 1.0}


def test_a_profile_is_read_as_it_was_written(tokenizer):
    whole = abridged(profile([ARTICLES["ast"]], tokenizer), kept=5)
    plain = json.loads(json.dumps(whole.to_dict()))
    again = LanguageProfile.from_dict(plain)
    assert list(again.tokens) == list(whole.tokens)
    assert again.to_dict() == plain
    assert len(again.tokens) == 5


def test_no_text_has_no_profile(tokenizer):
    with pytest.raises(ValueError, match="no text"):
        profile(["", " "], tokenizer)
