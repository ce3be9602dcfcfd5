"""What the decoder reads and must write: one start token, masked prefix, scored end."""

import pytest

from whisper_peft.data.targets.labels import IGNORED, Labeller, language_code, recase
from whisper_peft.errors import DataError
from whisper_peft.types import Utterance


@pytest.fixture
def french(base):
    return Labeller(base.tokenizer, multilingual=True, language="fr")


@pytest.fixture
def english_only(tiny_en):
    return Labeller(tiny_en.tokenizer, multilingual=False, language=None)


def utterance(text="Bonjour à tous.", **fields):
    return Utterance("a", b"", text, **fields)


def tokens(labeller, ids):
    return labeller.tokenizer.convert_ids_to_tokens([i for i in ids if i != IGNORED])


def test_there_is_exactly_one_start_token(french, english_only):
    for labeller in (french, english_only):
        read = labeller(utterance()).decoder_input_ids
        assert tokens(labeller, read).count("<|startoftranscript|>") == 1
        assert tokens(labeller, read)[0] == "<|startoftranscript|>"


def test_language_and_task_are_told_to_a_multilingual_checkpoint(french):
    target = french(utterance())
    expected = ["<|startoftranscript|>", "<|fr|>", "<|transcribe|>", "<|notimestamps|>"]
    assert tokens(french, target.decoder_input_ids[:4]) == expected
    row = french(utterance(language="de", task="translate"))
    assert tokens(french, row.decoder_input_ids[1:3]) == ["<|de|>", "<|translate|>"]


def test_an_english_only_checkpoint_is_told_neither(english_only):
    read = tokens(english_only, english_only(utterance("Hello.")).decoder_input_ids)
    assert read[:2] == ["<|startoftranscript|>", "<|notimestamps|>"]
    assert read[2] == "ĠHello"


def test_the_prefix_is_masked_and_the_end_is_scored(french):
    target = french(utterance())
    assert len(target.labels) == len(target.decoder_input_ids) == french.length(utterance())
    assert target.labels[:3] == (IGNORED,) * 3
    assert IGNORED not in target.labels[3:]
    assert tokens(french, target.labels)[-1] == "<|endoftext|>"
    assert french.tokenizer.decode(target.labels[3:-1]) == " Bonjour à tous."
    assert target.labels[3:-1] == target.decoder_input_ids[4:]


def test_text_of_languages_without_spaces_begins_without_one(french):
    target = french(utterance("你好", language="zh"))
    assert french.tokenizer.decode(target.labels[3:-1]) == "你好"


def test_a_row_without_language_is_refused_by_a_multilingual_checkpoint(base):
    labeller = Labeller(base.tokenizer, multilingual=True, language=None)
    with pytest.raises(DataError, match=r"no language.*model\.language"):
        labeller(utterance())
    assert labeller(utterance(language="fr"))


def test_a_row_of_another_language_is_refused_by_an_english_only_checkpoint(base):
    labeller = Labeller(base.tokenizer, multilingual=False, language=None)
    assert labeller(utterance(language="en")) == labeller(utterance())
    with pytest.raises(DataError, match="language 'fr' for an English-only checkpoint"):
        labeller(utterance(language="fr"))


def test_names_codes_and_locales_of_languages_are_understood():
    assert [language_code(name) for name in ("French", "fr", "fr-CA", "EN_us", "castilian")] == [
        "fr", "fr", "fr", "en", "es",
    ]  # fmt: skip
    with pytest.raises(DataError, match="did you mean french"):
        language_code("frensh")


def test_case_is_changed_only_when_asked():
    assert recase("NORTHANGER ABBEY", "as-is") == "NORTHANGER ABBEY"
    assert recase("NORTHANGER ABBEY", "lower") == "northanger abbey"
    assert recase("", "sentence") == ""
