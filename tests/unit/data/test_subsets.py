"""Parts of the training rows: whole speakers, each part within the next, apart from what is held out."""

import itertools

import pytest

from whisper_peft.data.sources.opening import open_split
from whisper_peft.data.splits import choose
from whisper_peft.data.subsets import choose_subset
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance

ROWS = [
    {"audio": f"{n}.wav", "text": f"sentence {n}", "speaker_id": f"s{n % 40}", "split": "train"}
    for n in range(400)
] + [{"audio": f"t{n}.wav", "text": "A", "speaker_id": f"t{n}", "split": "test"} for n in range(20)]


def part(share, **fields):
    section = DataSection(source=ROWS, train="train", eval="test", train_share=share, **fields)
    return list(open_split(section, "train"))


def test_a_smaller_part_lies_within_a_larger_one():
    parts = [{row.id for row in part(share)} for share in (0.05, 0.1, 0.3, 0.7, 1.0)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(parts))
    assert [len(one) for one in parts] == [20, 40, 120, 280, 400]


def test_whole_speakers_are_taken():
    taken = {row.speaker_id for row in part(0.3)}
    left = {row.speaker_id for row in part(1.0)} - taken
    assert len(taken) == 12
    assert all(row.speaker_id not in left for row in part(0.3))
    assert len(part(0.3)) == sum(row.speaker_id in taken for row in part(1.0))


def test_with_few_speakers_rows_are_taken():
    rows = [Utterance(str(n), b"", "", speaker_id="one") for n in range(50)]
    rule = choose_subset(rows, 0.1, is_stream=False, seed=0)
    assert not rule.by_speaker
    assert sum(map(rule, rows)) == 5


def test_at_least_one_speaker_is_taken():
    assert len(part(0.001)) == 10


def test_scored_rows_are_all_there_whatever_the_share():
    section = DataSection(source=ROWS, train="train", eval="test", train_share=0.1)
    assert open_split(section, "eval").count == 20


def test_the_part_is_told():
    section = DataSection(source=ROWS, train="train", eval="test", train_share=0.1)
    opened = open_split(section, "train")
    assert "of it 10 % of the rows, 4 of 40 speakers (data.train_share 0.1)" in opened.sentence
    assert opened.split == "train"
    assert opened.count == 40


def test_a_stream_is_parted_row_by_row_and_goes_on_in_the_middle():
    class Stream:
        def __iter__(self):
            return (Utterance(str(n), b"", f"{n}", speaker_id=f"s{n % 40}") for n in range(400))

    section = DataSection(source={"train": Stream(), "test": Stream()}, train_share=0.3)
    opened = open_split(section, "train")
    ids = [row.id for row in opened]
    assert 60 < len(ids) < 180
    assert {row.speaker_id for row in opened} & {row.speaker_id for row in part(1.0)}
    later = [row.id for row in opened.after(100, lambda row: True)]
    assert later == [name for name in ids if int(name) >= 100] or later == ids[100:]


def test_rows_can_be_held_out_of_a_training_split_that_has_others_beside_it():
    section = DataSection(source=ROWS, train="train", eval="test", dev="held-out")
    learned, chosen, scored = (open_split(section, role) for role in ("train", "dev", "eval"))
    speakers = [{row.speaker_id for row in rows} for rows in (learned, chosen, scored)]
    assert speakers[0].isdisjoint(speakers[1])
    assert (learned.count, chosen.count, scored.count) == (360, 40, 20)
    assert (learned.split, chosen.split, scored.split) == ("train", "held-out", "test")


def test_what_was_held_out_is_never_in_a_part():
    held = DataSection(source=ROWS, train="train", eval="held-out")
    chosen = {row.speaker_id for row in open_split(held, "eval")}
    for share in (0.1, 0.9, 1.0):
        taken = {row.speaker_id for row in part(share, dev="held-out")}
        assert taken.isdisjoint(chosen)


def test_names_that_were_found_open_the_same_rows_again():
    rows = [row | {"split": {"train": "train-clean-100", "test": "test"}[row["split"]]} for row in ROWS]
    first = DataSection(source=rows, train="train.clean.100", eval="held-out")
    names = {role: open_split(first, role).split for role in ("train", "eval")}
    assert names == {"train": "train-clean-100", "eval": "held-out"}
    again = DataSection(source=rows, **names)
    assert [row.id for row in open_split(first, "train")] == [row.id for row in open_split(again, "train")]


def test_a_split_of_that_name_is_itself():
    assert choose(DataSection(eval="held-out"), "eval", ["train", "held-out"], source="x").part == "whole"


def test_an_absent_training_split_is_not_parted():
    with pytest.raises(DataError, match="there is no split"):
        choose(DataSection(train="learn", eval="held-out"), "train", ["train", "test"], source="x")
