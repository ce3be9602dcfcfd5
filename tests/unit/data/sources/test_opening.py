"""What sources do with the data of the real world."""

import io
import json
import logging
import random
import shutil
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.data.layouts import (
    Spoken,
    arrays,
    arrow,
    hub_layout,
    of_split,
    openslr_folder,
    openslr_tar,
    spoken,
)
from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.checking import check_rows
from whisper_peft.data.sources.archives import ArchiveRows
from whisper_peft.data.sources.hub import open_hub
from whisper_peft.data.sources.kinds import kind_at
from whisper_peft.data.sources.opening import open_source, open_split
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection


@pytest.fixture(scope="module")
def rows(prompts_en: list[dict[str, Any]]) -> list[Spoken]:
    return spoken(prompts_en)


def write_parquet(path: Path, rows: list[Spoken]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_a_missing_path_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing"):
        open_split(DataSection(source=str(tmp_path / "nothing")), "train")


def test_a_name_that_is_neither_path_nor_on_the_hub_says_both() -> None:
    with pytest.raises(DataError, match="no path here, and the Hub does not give it"):
        open_split(DataSection(source="nobody/nothing"), "train")


@pytest.fixture
def librispeech_asr(tmp_path: Path, rows: list[Spoken], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the Hub's `openslr/librispeech_asr` be a folder laid out like it."""
    hub_layout(tmp_path, rows, train="train.100")
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: clean\n  data_files:\n"
        "  - split: train.100\n    path: clean/train.100/*.parquet\n"
        "  - split: validation\n    path: clean/test/*.parquet\n"
        "- config_name: other\n  data_files:\n  - split: test\n    path: clean/test/*.parquet\n---\n"
    )
    folder = str(tmp_path)
    monkeypatch.setattr(
        "whisper_peft.data.sources.opening.open_hub",
        lambda repo, section, wanted: open_hub(folder, section, wanted=wanted),
    )
    return tmp_path


def test_the_hubs_librispeech_is_streamed_by_default(librispeech_asr: Path, rows: list[Spoken]) -> None:
    section = DataSection()
    train, scored = open_split(section, "train"), open_split(section, "eval")
    assert (train.split, scored.split) == ("clean/train.100", "clean/validation")
    assert train.is_stream
    for source, split in ((train, "train"), (scored, "test")):
        assert [decode(row).text for row in source] == [row.text for row in of_split(rows, split)]
        assert [row.speaker_id for row in source] == [row.speaker for row in of_split(rows, split)]
    again = DataSection(train=train.split, eval=scored.split)
    assert [row.id for row in open_split(again, "eval")] == [row.id for row in scored]


def test_a_configuration_that_no_split_name_tells_is_asked_for(librispeech_asr: Path) -> None:
    with pytest.raises(DataError, match=r"needs data\.config.*clean, other"):
        open_split(DataSection(eval="test"), "eval")
    assert open_split(DataSection(eval="test", config="other"), "eval").split == "other/test"
    with pytest.raises(DataError, match=r"data\.config is 'othr'.*did you mean other\?"):
        open_split(DataSection(eval="test", config="othr"), "eval")


def test_openslr_recordings_and_transcripts_without_the_other_are_counted(
    tmp_path: Path, rows: list[Spoken]
) -> None:
    root = openslr_folder(tmp_path, rows)
    (extra,) = root.glob(f"train/*/*/{rows[0].id}.flac")
    extra.rename(extra.with_name("10-100-9999.flac"))
    section = DataSection(source=root)
    check = check_rows(open_source(section, "train"), section=section, label_length=lambda row: 1)
    assert check.skipped == {"missing": 1, "empty-text": 1}
    assert len(check.kept) == 13


def test_folder_of_openslr_archives_has_the_splits_of_their_names(tmp_path: Path, rows: list[Spoken]) -> None:
    for split in ("train", "test"):
        archive = openslr_tar(tmp_path / split, of_split(rows, split), ".tar.gz")
        archive.rename(tmp_path / f"{split}.tar.gz")
        shutil.rmtree(tmp_path / split)
    assert kind_at(tmp_path).name == "openslr-tar"
    assert len(list(open_source(DataSection(source=tmp_path), "test"))) == 6


def test_an_archive_without_its_end_is_refused(tmp_path: Path, rows: list[Spoken]) -> None:
    archive = openslr_tar(tmp_path, rows, ".tar.gz")
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(DataError, match="cannot be read to its end"):
        list(open_source(DataSection(source=archive), "all"))


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(__file__, "other.py")
    with pytest.raises(DataError, match="not laid out like LibriSpeech"):
        open_source(DataSection(source=tmp_path / "other.tar"), "all")


def test_recordings_that_wait_for_transcripts_without_end_are_refused(
    tmp_path: Path, rows: list[Spoken], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = openslr_tar(tmp_path, rows, ".tar.gz", lambda name: (name.endswith(".txt"), name))
    monkeypatch.setattr("whisper_peft.data.sources.archives._PENDING_BYTES", 200_000)
    with pytest.raises(DataError, match="before their transcripts"):
        list(ArchiveRows((archive,)))


def write_lines(path: Path, *lines: str) -> DataSection:
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return DataSection(source=path)


def test_paths_out_of_the_folder_and_malformed_rows_are_counted(tmp_path: Path, rows: list[Spoken]) -> None:
    rows[0].write(tmp_path / "good.wav")
    good = json.dumps({"audio": "good.wav", "text": "Good."})
    outside = json.dumps({"audio": "a/../../secret.wav", "text": "Bad."})
    section = write_lines(tmp_path / "speech.jsonl", good, outside, "{broken", "[1]", "", "[" * 100_000)
    section = section.model_copy(update={"max_skipped_share": 1.0})
    check = check_rows(open_source(section, "all"), section=section, label_length=lambda row: 1)
    assert check.skipped == {"path-outside": 1, "malformed-row": 3}
    assert [row.text for row in check.kept] == ["Good."]


def test_a_broken_row_counts_in_the_split_of_its_own_folder(tmp_path: Path) -> None:
    for split, broken in (("train", 1), ("test", 2)):
        (tmp_path / split).mkdir()
        good = json.dumps({"audio": "a.wav", "text": split})
        write_lines(tmp_path / split / "metadata.jsonl", good, *["{broken"] * broken)
    for split, broken in (("train", 1), ("test", 2)):
        source = open_source(DataSection(source=tmp_path), split)
        assert [row.text for row in source] == [split]
        assert source.skipped == {"malformed-row": broken}


def test_a_csv_row_with_a_comma_too_many_is_counted_not_cut(tmp_path: Path) -> None:
    section = write_lines(tmp_path / "speech.csv", "audio,text", "c.wav,Yes, sir", "a.wav", "b.wav,B")
    source = open_source(section, "all")
    assert [row.text for row in source] == ["B"]
    assert source.skipped == {"malformed-row": 2}
    with pytest.raises(DataError, match=r"no row .* malformed-row: 2; missing: 1 \(b\)"):
        check_rows(source, section=section, label_length=lambda row: 1)


def test_a_csv_of_a_spreadsheet_with_a_decimal_comma_has_semicolons(tmp_path: Path) -> None:
    lines = ("\ufeffaudio;text;speaker\r", 'a.wav;"Yes; sir, yes";anna\r', "b.wav;A;B;C\r", "c.wav;No;paul\r")
    section = write_lines(tmp_path / "speech.csv", *lines)
    source = open_source(section, "all")
    assert [(row.text, row.speaker_id) for row in source] == [("Yes; sir, yes", "anna"), ("No", "paul")]
    assert source.skipped == {"malformed-row": 1}
    assert open_source(DataSection(source=tmp_path), "all").count == 2


def test_a_folder_of_nemo_manifests_has_the_splits_of_their_names(tmp_path: Path) -> None:
    for split in ("train", "test"):
        row = json.dumps({"audio_filepath": f"{split}.wav", "duration": 2.0, "text": split})
        write_lines(tmp_path / f"{split}_manifest.json", row, row.replace(".wav", "2.wav"))
    (tmp_path / "config.json").write_text('{"sample_rate": 16000}')
    (tmp_path / "notes.json").write_text('{\n  "audio_filepath": "a.wav", "text": "a"\n}')
    for split in ("train", "test"):
        source = open_source(DataSection(source=tmp_path), f"{split}_manifest")
        assert [(row.id, row.text) for row in source] == [(split, split), (f"{split}2", split)]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ('"Hello," she said', '"Hello," she said'),
        ('"""Hello"" she said"', '"Hello" she said'),
        ('"a" and "b"', '"a" and "b"'),
        ('"', '"'),
    ],
)
def test_tsv_keeps_quotes_that_are_text(tmp_path: Path, cell: str, text: str) -> None:
    section = write_lines(tmp_path / "speech.tsv", "path\tsentence", f"a.wav\t{cell}", "b.wav\tnext")
    assert [row.text for row in open_source(section, "all")] == [text, "next"]


def test_a_column_that_the_recipe_names_must_be_there(tmp_path: Path) -> None:
    section = write_lines(tmp_path / "speech.csv", "audio,sentence", "a.wav,A")
    with pytest.raises(DataError, match=r"data\.text_column is 'sentences'.*did you mean sentence\?"):
        open_source(section.model_copy(update={"text_column": "sentences"}), "all")


def test_a_column_found_under_another_name_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    section = write_lines(tmp_path / "speech.csv", "audio,sentence", "a.wav,A")
    with caplog.at_level(logging.INFO):
        open_source(section, "all")
    assert "the text is in column 'sentence'" in caplog.text


def test_a_manifest_without_audio_column_lists_what_it_has(tmp_path: Path) -> None:
    section = write_lines(tmp_path / "speech.csv", "sound,text", "a.wav,A")
    with pytest.raises(DataError, match=r"no column that holds the audio.*Known: sound, text"):
        open_source(section, "all")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfea\x00", b"{oops}\n"])
def test_a_manifest_that_is_no_text_or_empty_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "speech.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"speech\.jsonl"):
        open_source(DataSection(source=tmp_path / "speech.jsonl"), "all")


def test_ids_used_twice_get_a_suffix_and_are_said(tmp_path: Path) -> None:
    lines = [
        json.dumps({"audio": f"{n}.wav", "text": "A", "id": name})
        for n, name in enumerate(["a", "a", "a-2", "a"])
    ]
    source = open_source(write_lines(tmp_path / "speech.jsonl", *lines), "all")
    assert [row.id for row in source] == ["a", "a-2", "a-2-2", "a-3"]
    assert "2 ids were used twice" in source.sentence


def test_ids_used_twice_in_parquet_carry_their_place(tmp_path: Path) -> None:
    rows = [{"audio": {"bytes": b"", "path": None}, "text": "A", "id": "same"} for _ in range(3)]
    write_parquet(tmp_path / "a.parquet", rows)
    write_parquet(tmp_path / "b.parquet", rows)
    ids = [row.id for row in open_source(DataSection(source=tmp_path), "all")]
    assert len(set(ids)) == 6


def test_parquet_rows_are_parted_by_a_split_column(tmp_path: Path) -> None:
    rows = [{"audio": {"bytes": b"x", "path": None}, "text": str(n), "split": "ab"[n % 2]} for n in range(5)]
    section = DataSection(source=write_parquet(tmp_path / "speech.parquet", rows))
    source = open_source(section, "b")
    assert [row.text for row in source] == ["1", "3"]
    assert source.count == 2


def test_parquet_of_the_configuration_all_is_not_read_twice(tmp_path: Path) -> None:
    for place in ("all/train.clean.100", "clean/train.100", "clean/test", "all/test.clean"):
        (tmp_path / place).mkdir(parents=True)
        write_parquet(
            tmp_path / place / "0000.parquet", [{"audio": {"bytes": b"x", "path": None}, "text": place}]
        )
    section = DataSection(source=tmp_path)
    assert [row.text for row in open_source(section, "train.clean.100")] == ["all/train.clean.100"]
    assert open_source(section, "all").count == 2
    assert [row.text for row in open_source(section.model_copy(update={"config": "clean"}), "train.100")] == [
        "clean/train.100"
    ]
    with pytest.raises(DataError, match=r"data\.config is 'claen'.*did you mean clean"):
        open_source(section.model_copy(update={"config": "claen"}), "all")


def test_damaged_parquet_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match=r"train\.parquet cannot be read"):
        open_source(DataSection(source=tmp_path), "all")


def test_an_iterator_is_refused_since_it_ends_after_one_epoch(rows: list[Spoken]) -> None:
    with pytest.raises(DataError, match="only once"):
        open_source(DataSection(source=iter(arrays(rows))), "all")


@pytest.mark.parametrize(
    ("source", "message"), [([], "is empty"), ([3], "of type int"), (7, "no rows in it")]
)
def test_what_holds_no_rows_is_refused(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(DataSection(source=source), "all")


def test_dataset_ids_used_twice_carry_their_place(tmp_path: Path, rows: list[Spoken]) -> None:
    doubled = datasets.concatenate_datasets(
        [arrow(tmp_path, rows[:2]), arrow(tmp_path, rows[:2])]
    ).remove_columns("split")
    ids = [row.id for row in open_source(DataSection(source=doubled), "all")]
    assert len(set(ids)) == 4


class _LongStream:
    """A stream of rows that are made as they are read."""

    def __init__(self, rows: int, content: bytes) -> None:
        self.rows, self.content = rows, content

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(self.rows):
            yield {"audio": {"bytes": self.content, "path": None}, "text": f"Sentence {number}."}


def long_archive(folder: Path, rows: int) -> Path:
    with tarfile.open(folder / f"{rows}.tar", "w") as tar:
        for number in range(rows):
            chapter = f"LibriSpeech/train/1/{number // 20}"
            if number % 20 == 0:
                lines = "".join(f"1-{number // 20}-{inner:05d} A\n" for inner in range(number, number + 20))
                add(tar, f"{chapter}/1-{number // 20}.trans.txt", lines.encode())
            add(tar, f"{chapter}/1-{number // 20}-{number:05d}.flac", random.Random(number).randbytes(20_000))
    return folder / f"{rows}.tar"


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def long_parquet(folder: Path, rows: int) -> Path:
    path = folder / f"{rows}.parquet"
    schema = pa.schema({"audio": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "text": pa.string()})
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, 50):
            audio = [{"bytes": random.Random(first + n).randbytes(20_000), "path": None} for n in range(50)]
            writer.write_table(pa.table({"audio": audio, "text": ["A"] * 50}, schema))
    return path


@pytest.mark.parametrize(
    "write",
    [long_archive, long_parquet, lambda folder, rows: _LongStream(rows, bytes(20_000))],
    ids=["tar", "parquet", "iterable"],
)
def test_memory_of_a_stream_does_not_grow_with_its_length(
    tmp_path: Path, write: Callable[[Path, int], Any]
) -> None:
    def peak(rows: int) -> tuple[int, int]:
        source = open_source(DataSection(source=write(tmp_path, rows)), "all")
        pa_before = pa.total_allocated_bytes()
        tracemalloc.start()
        assert sum(1 for _ in source) == rows
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak, pa.total_allocated_bytes() - pa_before

    peak(100)  # imports and caches
    short, _ = peak(200)
    long, left = peak(2_000)
    assert long < 1.25 * short + 100_000
    assert left < 4_000_000


def test_shared_librispeech_has_its_334_and_60_utterances(shared: Path) -> None:
    for place in ("librispeech/LibriSpeech", "librispeech"):
        section = DataSection(source=shared / place, train="train-clean-100", eval="heldout-clean")
        checks = [
            check_rows(open_split(section, which), section=section, label_length=lambda row: 1)
            for which in ("train", "eval")
        ]
        assert [len(check.kept) for check in checks] == [334, 60]
        assert not any(check.skipped for check in checks)
        assert 1.0 < checks[0].hours < 1.1


@pytest.mark.parametrize(("place", "sizes"), [("accented", (300, 120)), ("prompts/fr", (149, 49))])
def test_shared_metadata_folders_have_their_rows(shared: Path, place: str, sizes: tuple[int, int]) -> None:
    section = DataSection(source=str(shared / place), train="train", eval="test")
    assert (open_split(section, "train").count, open_split(section, "eval").count) == sizes
