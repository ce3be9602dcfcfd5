"""Split names forgive, a named split is never replaced, and what is held out stays held out."""

from typing import Any

import pytest

from whisper_peft.data.held_out import HoldOut, choose_hold_out
from whisper_peft.data.sources.opening import open_source, open_split
from whisper_peft.data.splits import choose, find_split
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance

LIBRISPEECH = ["dev-clean", "dev-other", "test-clean", "train-clean-100", "train-clean-360"]


def chosen(splits: list[str], role: Any, **named: str) -> tuple[str | None, str]:
    choice = choose(DataSection(**named), role, splits, source="the corpus")
    return choice.split, choice.part


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("train.clean.100", "train-clean-100"),
        ("validation.clean", "dev-clean"),
        ("val_other", "dev-other"),
        ("Test.Clean", "test-clean"),
        ("test", None),
        ("train.clean", None),
    ],
)
def test_split_names_are_found_however_they_are_spelled(name: str, found: str | None) -> None:
    assert find_split(name, LIBRISPEECH) == found


def test_the_default_splits_are_those_of_librispeech() -> None:
    assert chosen(LIBRISPEECH, "train") == ("train-clean-100", "whole")
    assert chosen(LIBRISPEECH, "eval") == chosen(LIBRISPEECH, "dev") == ("dev-clean", "whole")


@pytest.mark.parametrize(
    ("splits", "train", "scored"),
    [
        (["train", "test"], "train", "test"),
        (["dev", "test", "train"], "train", "dev"),
        (["training", "heldout-clean"], "training", "heldout-clean"),
    ],
)
def test_absent_default_splits_give_way_to_the_single_similar_one(
    splits: list[str], train: str, scored: str
) -> None:
    assert chosen(splits, "train") == (train, "whole")
    assert chosen(splits, "eval") == (scored, "whole")


def test_no_default_is_guessed_among_several() -> None:
    with pytest.raises(DataError, match=r"give data\.train\. Known: test, train-a, train-b, all"):
        chosen(["test", "train-a", "train-b"], "train")
    with pytest.raises(DataError, match=r"give data\.eval"):
        chosen(["test-a", "test-b", "train"], "eval")


@pytest.mark.parametrize("role", ["train", "eval", "dev"])
def test_a_named_split_is_never_replaced(role: str) -> None:
    with pytest.raises(DataError, match=r"no split 'tset'.*did you mean test\?"):
        chosen(["train", "test"], role, **{role: "tset"})
    assert chosen(["train", "test"], role, **{role: "train"}) == ("train", "whole")


def test_a_named_default_is_not_replaced_either() -> None:
    with pytest.raises(DataError, match=r"no split 'train\.clean\.100'"):
        chosen(["train", "test"], "train", train="train.clean.100")


def test_a_training_split_alone_is_parted_unless_scoring_was_named() -> None:
    assert chosen(["train"], "train") == ("train", "train")
    assert chosen(["train"], "eval") == ("train", "held-out")
    assert chosen(["train"], "train", train="train") == ("train", "train")
    assert chosen(["train"], "train", eval="train") == ("train", "whole")


def test_a_test_split_alone_is_never_trained_on() -> None:
    with pytest.raises(DataError, match=r"give data\.train"):
        chosen(["test"], "train")
    assert chosen(["test"], "eval") == ("test", "whole")


def test_the_recorded_names_open_the_same_parts_again() -> None:
    for splits in ([], ["train"], ["speech"]):
        labels = [choose(DataSection(), role, splits, source="x").label for role in ("train", "eval")]
        assert labels == ["train", "held-out"]
        again = DataSection(train=labels[0], eval=labels[1])
        assert [choose(again, role, splits, source="x").part for role in ("train", "eval")] == labels


def rows(speakers: int, each: int) -> list[Utterance]:
    return [
        Utterance(f"{speaker}-{n}", b"", f"Sentence {n}.", speaker_id=f"s{speaker}")
        for speaker in range(speakers)
        for n in range(each)
    ]


def held(
    utterances: list[Utterance], *, is_stream: bool = False, seed: int = 42
) -> tuple[HoldOut, list[Utterance]]:
    rule = choose_hold_out(utterances, is_stream=is_stream, seed=seed, source="rows")
    return rule, [utterance for utterance in utterances if rule(utterance)]


def test_whole_speakers_are_held_out_where_there_are_enough() -> None:
    rule, out = held(rows(speakers=20, each=5))
    assert rule.by == "speaker"
    assert len(out) == 10
    assert len({row.speaker_id for row in out}) == 2


@pytest.mark.parametrize("speakers", [1, 2, 3])
def test_whole_sentences_are_held_out_where_speakers_are_few(speakers: int) -> None:
    every = rows(speakers, each=30)
    rule, out = held(every)
    assert rule.by == "sentence"
    assert len(out) == 3 * speakers
    assert not {row.text for row in out} & {row.text for row in every if not rule(row)}


@pytest.mark.parametrize("count", [2, 3, 9, 15])
def test_at_least_one_row_is_held_out_and_one_is_left(count: int) -> None:
    _, out = held(rows(1, count))
    assert 1 <= len(out) < count


def test_a_sentence_in_nearly_every_row_stays_in_training() -> None:
    every = [Utterance(str(n), b"", "yes" if n else "no") for n in range(50)]
    assert [row.text for row in held(every)[1]] == ["no"]


def test_one_sentence_cannot_be_parted() -> None:
    with pytest.raises(DataError, match="nothing can be held out"):
        held([Utterance(str(n), b"", "Yes.") for n in range(9)])


def test_what_is_held_out_depends_on_the_seed_and_not_on_the_order() -> None:
    every = rows(40, 3)
    ids = {row.id for row in held(every)[1]}
    assert {row.id for row in held(every[::-1])[1]} == ids
    assert {row.id for row in held(every, seed=7)[1]} != ids


@pytest.mark.parametrize(("speakers", "by"), [(300, "speaker"), (2, "sentence")])
def test_about_a_tenth_of_a_long_stream_is_held_out(speakers: int, by: str) -> None:
    every = rows(speakers, 3_000 // speakers)
    every = sorted(every, key=lambda row: row.text)
    rule, out = held(every, is_stream=True)
    assert rule.by == by
    assert 0.05 < len(out) / len(every) < 0.15


def test_a_source_without_splits_is_parted_into_rows_that_do_not_overlap() -> None:
    source = [{"audio": f"{n}.wav", "text": f"Sentence {n}.", "id": f"u{n}"} for n in range(30)]
    section = DataSection(source=source)
    train, scored = open_split(section, "train"), open_split(section, "eval")
    assert (train.count, scored.count) == (27, 3)
    assert {row.id for row in train} | {row.id for row in scored} == {f"u{n}" for n in range(30)}
    assert "a tenth is held out" in scored.sentence
    assert "parted by sentence" in scored.sentence
    assert [row.id for row in open_source(section, "held-out")] == [row.id for row in scored]
