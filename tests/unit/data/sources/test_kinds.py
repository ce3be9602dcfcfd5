"""What lies at a path is known by what lies there, said in words, and never guessed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.unit.data.layouts import LAYOUTS, spoken
from whisper_peft.data.sources.descriptions import describe
from whisper_peft.data.sources.kinds import KINDS, kind_at
from whisper_peft.data.sources.opening import open_source, open_split
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection

EXPECTED = {
    "openslr folder": "openslr-folder",
    "openslr folder's parent": "openslr-folder",
    "openslr tar.gz": "openslr-tar",
    "parquet shards": "parquet",
    "common voice": "common-voice",
    "metadata folder": "metadata-folder",
    "metadata in split folders": "metadata-folder",
    "jsonl": "manifest",
    "folder of one jsonl": "manifest-folder",
    "folder of a jsonl for each split": "manifest-folder",
    "nemo manifest of one recording": "manifest",
    "kaldi": "kaldi",
    "ljspeech": "ljspeech",
    "side by side": "side-by-side",
    "srt": "subtitled",
    "vtt": "subtitled",
}


@pytest.mark.parametrize("layout", EXPECTED)
def test_every_layout_is_known_and_described(
    layout: str, tmp_path: Path, prompts_en: list[dict[str, Any]]
) -> None:
    rows = spoken(prompts_en)
    (tmp_path / "corpus").mkdir()
    path = LAYOUTS[layout](tmp_path / "corpus", [*rows[:2], *rows[-2:]])
    assert kind_at(path).name == EXPECTED[layout]
    found = describe(path)
    assert found.kind == EXPECTED[layout]
    assert {"train", "test"} <= set(found.splits) or layout == "ljspeech"
    assert found.sentence.startswith(f"{path} is ")
    assert shlex.split(found.command)[:4] == ["whisper-peft", "finetune", "lora-librispeech", "--data.source"]


def test_every_kind_is_told_apart_by_a_test() -> None:
    assert {kind.name for kind in KINDS} == set(EXPECTED.values())


def test_a_corpus_without_splits_is_said_to_be_parted(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "speech.csv").write_text("file,text\na.wav,A\nb.wav,B\n")
    found = describe(folder)
    assert found.sentence.endswith("no splits, so a tenth is held out for scoring")
    assert "--data.train" not in found.command
    sentence = open_split(DataSection(source=folder), "train").sentence
    assert "parted by sentence, seed 42" in sentence


def test_splits_that_no_default_name_finds_are_in_the_command(tmp_path: Path) -> None:
    rows = "a.wav\tA\ttest-a\nb.wav\tB\ttest-b\nc.wav\tC\ttrain\n"
    (tmp_path / "my speech.tsv").write_text("path\tsentence\tsplit\n" + rows)
    found = describe(tmp_path / "my speech.tsv")
    assert shlex.split(found.command)[4:] == [
        str(tmp_path / "my speech.tsv"),
        "--data.train",
        "train",
        "--data.eval",
        "SPLIT",
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "the folder is empty - give one of these: Common Voice"),
        (["a.wav", "b.wav", "notes.md"], r"it holds 2 \.wav, 1 \.md.*put a text beside each recording"),
        (["prices.csv"], r"it holds 1 \.csv.*give one file, such as prices\.csv, with data\.audio_column"),
        (["en/train/wav.scp"], r"it holds 1 folders.*give .*en \(Kaldi data folders"),
        (["speech.docx"], r"it holds 1 \.docx.*give one of these"),
    ],
)
def test_what_is_no_corpus_is_said_with_what_there_is_and_what_to_give(
    tmp_path: Path, files: list[str], message: str
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=message):
        kind_at(tmp_path)


def test_a_recording_alone_is_told_to_lack_text(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    with pytest.raises(DataError, match="a recording without text - put a text beside"):
        kind_at(tmp_path / "a.wav")


def test_of_common_voice_only_the_validated_tables_are_read_unless_another_is_given(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    header = "client_id\tpath\tsentence\tlocale\n"
    for name, lines in {"train": "1\ta.mp3\tA\tzh-CN\n", "dev": "", "other": "2\tb.mp3\tB\tzh-CN\n"}.items():
        (tmp_path / f"{name}.tsv").write_text(header + lines)
    assert describe(tmp_path).splits == ("train",)  # nobody has been voted into dev
    (row,) = open_source(DataSection(source=tmp_path), "all")
    assert (row.audio, row.language, row.speaker_id) == (tmp_path / "clips" / "a.mp3", "zh-CN", "1")
    (row,) = open_source(DataSection(source=tmp_path / "other.tsv"), "all")
    assert row.text == "B"


def test_common_voice_rows_are_read_once_where_validated_holds_those_of_other_splits(
    tmp_path: Path, prompts_en: list[dict[str, Any]]
) -> None:
    rows = spoken(prompts_en)
    source = open_source(DataSection(source=LAYOUTS["common voice"](tmp_path, rows)), "all")
    assert sorted(row.text for row in source) == sorted(row.text for row in rows)
