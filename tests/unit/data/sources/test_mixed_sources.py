"""The sources beside the main one: opened as it is, and told apart by name in every row."""

import pytest

from whisper_peft.data.sources.mixed_sources import open_mixed, section_of
from whisper_peft.data.sources.opening import open_split
from whisper_peft.data.sources.source_names import mixed_names
from whisper_peft.errors import DataError, RecipeError
from whisper_peft.recipe.sections import DataSection, MixedSource
from whisper_peft.testing import check_source


@pytest.fixture
def data(root):
    """Return the section of French prompts with English ones mixed in, and the French ones once more."""
    prompts = root / "tests" / "data" / "prompts"
    mix = [f"{prompts / 'en'}=0.25", "language=English", f"{prompts / 'fr'}=0.25", "task=translate"]
    return DataSection(source=str(prompts / "fr"), mix=mix)


def test_a_mixed_source_keeps_the_contract_of_every_source(data):
    for place in range(2):
        check_source(open_mixed(data, place, "train"))
        check_source(open_mixed(data, place, "eval"))


def test_rows_know_their_source_and_have_ids_of_their_own(data):
    main = list(open_split(data, "train"))
    english, french = (list(open_mixed(data, place, "train")) for place in range(2))
    assert {row.source for row in main} == {None}
    assert {row.source for row in english} == {"en"}
    assert all(row.id.startswith("en/") for row in english)
    ids = [row.id for row in (*main, *english, *french)]
    assert len(ids) == len(set(ids))
    assert [row.id.removeprefix("fr/") for row in french] == [row.id for row in main]


def test_language_and_task_are_for_rows_that_have_none_of_their_own(root):
    rows = [
        {"audio": "a.wav", "text": "A", "language": "de"},
        {"audio": "b.wav", "text": "B", "language": None},
    ]
    mixed = MixedSource(source=rows, train="all", language="en", task="translate")
    opened = list(open_mixed(DataSection(mix=(mixed,)), 0, "train"))
    assert [(row.language, row.task) for row in opened] == [("de", "translate"), ("en", "translate")]


def test_splits_are_found_as_those_of_a_main_source(data):
    english = open_mixed(data, 0, "eval")
    assert (english.split, english.count, english.is_stream) == ("test", 16, False)
    assert english.sentence.startswith("en: eval: test of ")


def test_what_is_held_out_of_a_source_without_splits_stays_unlearned_though_it_is_not_scored():
    rows = [{"audio": f"{n}.wav", "text": f"sentence {n}"} for n in range(20)]
    scored, unscored = (
        DataSection(mix=(MixedSource(source=rows, **fields),)) for fields in ({}, {"eval": None})
    )
    learned = [row.id for row in open_mixed(scored, 0, "train")]
    held_out = [row.id for row in open_mixed(scored, 0, "eval")]
    assert (len(learned), len(held_out)) == (18, 2)
    assert [row.id for row in open_mixed(unscored, 0, "train")] == learned


def test_durations_are_those_of_the_main_source_and_columns_its_own():
    main = DataSection(source="a", text_column="words", max_duration_s=9, min_duration_s=1)
    section = section_of(MixedSource(source="b", text_case="lower"), main)
    assert (section.source, section.text_column, section.text_case) == ("b", "text", "lower")
    assert (section.max_duration_s, section.min_duration_s) == (9, 1)
    assert section_of(MixedSource(source="b"), DataSection(text_case="lower")).text_case == "auto"


def test_splits_that_nobody_named_stay_unnamed():
    assert "train" not in section_of(MixedSource(source="b"), DataSection(train="x")).model_fields_set
    assert section_of(MixedSource(source="b", train="y"), DataSection(train="x")).train == "y"


def test_names_are_those_of_files_folders_and_data_sets():
    sources = ["speech/en", "old.jsonl", "owner/libri", "more/en", "train.tar.gz", [1], ".."]
    names = mixed_names([MixedSource(source=source) for source in sources])
    assert names[:6] == ("en", "old", "libri", "en-2", "train", "list")
    assert names[6]


def test_a_name_that_was_given_is_kept_and_not_taken_again():
    mix = [MixedSource(source="en"), MixedSource(source="other", name="en")]
    assert mixed_names(mix) == ("en-2", "en")
    with pytest.raises(RecipeError, match="have the name 'en'"):
        mixed_names([MixedSource(source=source, name="en") for source in "ab"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": "no/such/folder.jsonl"}, r"data\.mix\.0\.source no/such/folder\.jsonl is missing"),
        ({"train": "evening"}, r"there is no split 'evening' in .*prompts/en"),
        ({"text_column": "words"}, r"data\.mix\.0\.text_column is 'words' - .* has no such column"),
        ({"source": 3}, r"data\.mix\.0\.source is of type int"),
    ],
)
def test_what_is_missing_is_told_in_the_words_of_the_source(root, fields, message):
    mixed = MixedSource(**{"source": str(root / "tests" / "data" / "prompts" / "en"), **fields})
    with pytest.raises(DataError, match=message):
        list(open_mixed(DataSection(mix=(mixed,)), 0, "train"))
