"""Training rows are corrected as a filled table says, and nothing else is."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from whisper_peft.data.sources.mixed_sources import open_mixed
from whisper_peft.data.sources.opening import open_split, open_splits
from whisper_peft.data.survey.findings import Reason, Suspect
from whisper_peft.errors import DataError
from whisper_peft.recipe.paths import with_absolute_paths
from whisper_peft.recipe.sections import DataSection, MixedSource, Recipe
from whisper_peft.recipe.yaml_files import recipe_yaml
from whisper_peft.reporting.pages.inspection_page import suspects_csv
from whisper_peft.types import Segment, Utterance

ROWS = [
    {"id": f"{split}-{n}", "audio": f"{split}-{n}.wav", "text": f"{split} words {n}", "split": split}
    for split, count in (("train", 8), ("test", 3))
    for n in range(count)
]
SPEECH = {"source": ROWS, "train": "train", "eval": "test"}


def filled(tmp_path, fill, *, split="train", ids=None):
    """Write the table as the product does, fill some cells, and return its file."""
    ids = ids if ids is not None else [row["id"] for row in ROWS]
    suspects = [Suspect(one, split, f"{one}.wav", "Words.", (Reason("noisy", "3 dB"),)) for one in ids]
    table = list(csv.DictReader(io.StringIO(suspects_csv(suspects))))
    for row in table:
        row.update(fill.get(row["id"], {}))
    return save(tmp_path, table)


def save(tmp_path, table, name="my.csv"):
    file = tmp_path / name
    with file.open("w", encoding="utf-8", newline="") as target:
        writer = csv.DictWriter(target, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return file


def texts(source):
    return {row.id: row.text for row in source}


def test_a_filled_table_changes_the_training_rows_exactly_so(tmp_path):
    fill = {"train-2": {"corrected_text": " The right words. "}, "train-5": {"action": "drop"}}
    section = DataSection(**SPEECH, corrections=filled(tmp_path, fill))
    plain = DataSection(**SPEECH)
    opened = open_split(section, "train")
    wanted = {**texts(open_split(plain, "train")), "train-2": "The right words."}
    del wanted["train-5"]
    assert texts(opened) == wanted
    assert opened.count == 7
    assert "1 texts corrected, 1 rows left out by" in opened.sentence
    assert texts(open_split(section, "eval")) == texts(open_split(plain, "eval"))


def test_a_table_that_nobody_filled_changes_nothing(tmp_path):
    section = DataSection(**SPEECH, corrections=filled(tmp_path, {}))
    assert list(open_split(section, "train")) == list(open_split(DataSection(**SPEECH), "train"))


def test_rows_of_another_split_are_passed_over_by_what_the_table_says_of_them(tmp_path):
    fill = {"test-0": {"corrected_text": "Mended."}, "test-1": {"action": "drop"}}
    section = DataSection(**SPEECH, corrections=filled(tmp_path, fill, split="test"))
    for role in ("train", "eval"):
        assert texts(open_split(section, role)) == texts(open_split(DataSection(**SPEECH), role))


def test_a_correction_moves_no_row_to_the_held_out_ones_and_changes_none_of_them(tmp_path):
    speech = {"source": [{name: row[name] for name in ("id", "audio", "text")} for row in ROWS]}
    plain = {role: texts(open_split(DataSection(**speech), role)) for role in ("train", "eval")}
    held, *_ = plain["eval"]
    fill = {row["id"]: {"corrected_text": f"New {row['id']}"} for row in ROWS}
    section = DataSection(**speech, corrections=filled(tmp_path, fill, split="all"))
    learned = texts(open_split(section, "train"))
    assert learned == {one: f"New {one}" for one in plain["train"]}
    assert texts(open_split(section, "eval")) == plain["eval"]
    assert held not in learned


def test_a_row_outside_the_part_that_is_learned_is_no_unknown_one(tmp_path):
    fill = {row["id"]: {"corrected_text": "New."} for row in ROWS if row["split"] == "train"}
    section = DataSection(**SPEECH, train_share=0.5, corrections=filled(tmp_path, fill))
    opened = open_split(section, "train")
    assert opened.count == 4
    assert set(texts(opened).values()) == {"New."}
    assert "4 texts corrected" in opened.sentence


def test_every_split_that_is_not_for_scoring_is_corrected_where_all_are_opened(tmp_path):
    fill = {"train-0": {"corrected_text": "New."}, "train-1": {"action": "drop"}}
    section = DataSection(**SPEECH, corrections=filled(tmp_path, fill))
    opened = {one.split: texts(one) for one in open_splits(section)}
    assert (len(opened["train"]), opened["train"]["train-0"], len(opened["test"])) == (7, "New.", 3)
    table = filled(tmp_path, {"nowhere": {"action": "drop"}}, ids=["nowhere"])
    with pytest.raises(DataError, match=r"1 ids that are not there \(nowhere\)"):
        open_splits(DataSection(**SPEECH, corrections=table))
    scored = filled(tmp_path, {"test-0": {"action": "drop"}}, ids=["test-0"], split="all")
    with pytest.raises(DataError, match=r"1 ids that are not there \(test-0\)"):
        open_splits(DataSection(**SPEECH, corrections=scored))


def test_timed_parts_of_the_old_text_go_with_it(tmp_path):
    old = Utterance("train-0", b"", "Old words.", segments=(Segment(0.0, 1.0, "Old words."),))
    table = filled(tmp_path, {"train-0": {"corrected_text": "New."}}, ids=["train-0"])
    section = DataSection(source=[old], train="all", corrections=table)
    assert list(open_split(section, "train")) == [replace(old, text="New.", segments=())]


class Stream:
    """Rows of which nobody knows how many come."""

    def __iter__(self):
        return (Utterance(f"train-{n}", b"", f"words {n}") for n in range(8))


def test_a_stream_is_corrected_as_it_passes_and_goes_on_in_the_middle(tmp_path):
    fill = {"train-1": {"action": "drop"}, "train-4": {"corrected_text": "New."}}
    speech = {"source": {"train": Stream(), "test": Stream()}, "train": "train", "eval": "test"}
    opened = open_split(DataSection(**speech, corrections=filled(tmp_path, fill)), "train")
    assert opened.is_stream
    assert [row.id[-1] for row in opened] == list("0234567")
    assert [(row.id[-1], row.text) for row in opened.after(3, lambda row: True)][:1] == [("4", "New.")]
    assert [row.id[-1] for row in opened.after(1, lambda row: row.text != "New.")] == list("23567")
    assert "up to 1 texts corrected, 1 rows left out" in opened.sentence


def test_rows_of_a_mixed_source_are_found_by_its_name_before_their_ids(tmp_path):
    ids = ["old/train-0", "old/train-1", "train-1"]
    fill = {
        ids[0]: {"corrected_text": "New."},
        ids[1]: {"action": "drop"},
        ids[2]: {"corrected_text": "Own."},
    }
    mixed = MixedSource(source=ROWS, name="old", train="train", eval="test")
    section = DataSection(**SPEECH, mix=(mixed,), corrections=filled(tmp_path, fill, ids=ids))
    learned, beside = open_split(section, "train"), open_mixed(section, 0, "train")
    assert (texts(learned)["train-0"], texts(learned)["train-1"]) == ("train words 0", "Own.")
    assert texts(beside)["old/train-0"] == "New."
    assert "old/train-1" not in texts(beside)
    assert texts(open_mixed(section, 0, "eval"))["old/test-0"] == "test words 0"
    gone = filled(tmp_path, {"old/gone": {"action": "drop"}}, ids=["old/gone"])
    with pytest.raises(DataError, match=r"not there \(old/gone\)"):
        open_mixed(section.model_copy(update={"corrections": gone}), 0, "train")


@pytest.mark.parametrize(
    ("encoding", "delimiter"), [("utf-8-sig", ","), ("utf-8", ";"), ("utf-16", ",")], ids=str
)
def test_a_table_is_read_as_spreadsheet_programs_save_it(tmp_path, encoding, delimiter):
    file = tmp_path / "my.csv"
    lines = [
        ["id", "corrected_text", "action"],
        ["train-0", '"Ça va, ""dit""-il."', ""],
        ["train-1", "", "Drop"],
    ]
    file.write_text("\r\n".join(delimiter.join(cells) for cells in lines), encoding=encoding)
    opened = open_split(DataSection(**SPEECH, corrections=file), "train")
    assert texts(opened)["train-0"] == 'Ça va, "dit"-il.'
    assert opened.count == 7


def test_a_table_may_be_lines_of_json(tmp_path):
    file = tmp_path / "my.jsonl"
    file.write_text(json.dumps({"id": "train-0", "corrected_text": "New."}), encoding="utf-8")
    assert texts(open_split(DataSection(**SPEECH, corrections=file), "train"))["train-0"] == "New."


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("name,action\ntrain-0,drop\n", r"my\.csv has no column 'id' - .*There are: name, action"),
        ("id,text\ntrain-0,Words\n", r"has no column 'corrected_text' and none 'action'"),
        (
            "id,action\ntrain-0,drop\ntrain-0,check\n",
            r"\(row 1, train-0; row 2, train-0\) - .*which one counts",
        ),
        ("id,action\ntrain-0,dorp\n", r"row 1 of .*my\.csv \(train-0\) is 'dorp' - .*did you mean drop\?"),
        ("id,corrected_text,action\ntrain-3,New.,drop\n", r"corrected_text, and drop .*\(row 1, train-3\)"),
        ("id,action\n,drop\n", r"have no id \(row 1\)"),
        ("id,action\ntrain-0\n", r"row 1 of .* cannot be read - it has more or fewer cells"),
        (
            "id,action\n" + "".join(f"gone-{n},drop\n" for n in range(5)),
            r"5 ids that are not there \(gone-0; gone-1; gone-2; \.\.\.\) - .*like train-0: did the speech",
        ),
        ("id,action\ntest-0,drop\n", r"1 ids that are not there \(test-0\) - no training row of"),
    ],
    ids=["id", "columns", "repeated", "action", "both", "nameless", "torn", "unknown", "scored"],
)
def test_a_table_that_cannot_be_followed_is_refused(tmp_path, table, told):
    file = tmp_path / "my.csv"
    file.write_text(table, encoding="utf-8")
    with pytest.raises(DataError, match=told):
        open_split(DataSection(**SPEECH, corrections=file), "train")


def test_a_table_that_is_no_utf8_is_refused_where_letters_are_lost(tmp_path):
    file = tmp_path / "my.csv"
    file.write_bytes("id,corrected_text\ntrain-0,Ça va\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"row 1 of .* is no UTF-8 - .*CSV UTF-8"):
        open_split(DataSection(**SPEECH, corrections=file), "train")


@pytest.mark.parametrize(("name", "why"), [("no.csv", "there is no such file"), (".", "it is a folder")])
def test_a_missing_table_is_refused(tmp_path, name, why):
    with pytest.raises(DataError, match=rf"data\.corrections .* is missing - {why}"):
        open_split(DataSection(**SPEECH, corrections=tmp_path / name), "train")


def test_a_recipe_names_the_table_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    filled(tmp_path, {})
    made = with_absolute_paths(Recipe(data=DataSection(corrections=Path("my.csv"))))
    assert made.data.corrections == tmp_path / "my.csv"
    assert f"corrections: {tmp_path}/my.csv" in recipe_yaml(made)


def test_splits_that_are_known_are_listed_once():
    section = DataSection(source=[row for row in ROWS if row["split"] == "train"], eval="tset")
    with pytest.raises(DataError, match=r"Known: all, held-out, train$"):
        open_split(section, "eval")
