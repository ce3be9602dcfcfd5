"""One contract for every kind of source, and what each kind does with the data of the real world."""

import csv
import io
import json
import logging
import pickle
import random
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from whisper_peft.data.archives import ArchiveRows
from whisper_peft.data.checking import check_rows
from whisper_peft.data.decoding import decode
from whisper_peft.data.hub import open_hub
from whisper_peft.data.sources import Source, open_source, open_split, recognise
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows(prompts_en: list[Row]) -> list[Row]:
    """Return six training and six test rows with a chapter and an OpenSLR name each."""
    chosen = [row for row in prompts_en if row["split"] == "train"][:6]
    chosen += [row for row in prompts_en if row["split"] == "test"][:6]
    names = [f"{10 + n % 2}-{100 + n % 4}-{n:04d}" for n in range(12)]
    numbered = zip(names, chosen, strict=True)
    return [
        {
            "id": name,
            "file": row["file_name"],
            "text": row["text"],
            "split": row["split"],
            "speaker": name[:2],
        }
        for name, row in sorted(numbered, key=lambda pair: (pair[1]["split"], pair[0]))
    ]


def openslr_folder(folder: Path, rows: list[Row]) -> Path:
    for row in rows:
        speaker, chapter, _ = row["id"].split("-")
        place = folder / "LibriSpeech" / row["split"] / speaker / chapter
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{row['id']}.flac").write_bytes(Path(row["file"]).read_bytes())
        with (place / f"{speaker}-{chapter}.trans.txt").open("a") as transcripts:
            transcripts.write(f"{row['id']} {row['text']}\n")
    return folder / "LibriSpeech"


def openslr_tar(folder: Path, rows: list[Row], order: Callable[[str], Any] = str, mode: str = "w:gz") -> Path:
    root = openslr_folder(folder, rows)
    archive = folder / ("speech.tar.gz" if mode == "w:gz" else "speech.tar")
    with tarfile.open(archive, mode) as tar:
        for path in sorted(
            (path for path in root.rglob("*") if path.is_file()), key=lambda path: order(str(path))
        ):
            tar.add(path, path.relative_to(folder))
    return archive


def metadata_folder(folder: Path, rows: list[Row]) -> Path:
    for row in rows:
        (folder / row["split"]).mkdir(exist_ok=True)
        (folder / row["split"] / f"{row['id']}.flac").write_bytes(Path(row["file"]).read_bytes())
    lines = [{"file_name": f"{row['split']}/{row['id']}.flac", "text": row["text"]} for row in rows]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def split_metadata_folders(folder: Path, rows: list[Row]) -> Path:
    for split in ("train", "test"):
        inner = [row for row in rows if row["split"] == split]
        (folder / split).mkdir()
        for row in inner:
            (folder / split / f"{row['id']}.flac").write_bytes(Path(row["file"]).read_bytes())
        table = [["file_name", "transcription"], *([f"{row['id']}.flac", row["text"]] for row in inner)]
        with (folder / split / "metadata.csv").open("w", newline="") as file:
            csv.writer(file).writerows(table)
    return folder


def jsonl(folder: Path, rows: list[Row]) -> Path:
    lines = [
        {"audio": row["file"], "text": row["text"], "split": row["split"], "id": row["id"]} for row in rows
    ]
    (folder / "speech.jsonl").write_text("".join(json.dumps(line) + "\r\n" for line in lines), "utf-8-sig")
    return folder / "speech.jsonl"


def delimited(folder: Path, rows: list[Row], delimiter: str, suffix: str) -> Path:
    with (folder / f"speech{suffix}").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["path", "sentence", "split", "client_id"])
        writer.writerows([row["file"], row["text"], row["split"], row["speaker"]] for row in rows)
    return folder / f"speech{suffix}"


def stored(row: Row) -> Row:
    """Return a row of openslr/librispeech_asr as the Hub stores it."""
    audio = {"bytes": Path(row["file"]).read_bytes(), "path": f"{row['id']}.flac"}
    speaker, chapter, _ = row["id"].split("-")
    ids = {"speaker_id": int(speaker), "chapter_id": int(chapter), "id": row["id"]}
    return {"file": f"{row['id']}.flac", "audio": audio, "text": row["text"], **ids}


def parquet_shards(folder: Path, rows: list[Row]) -> Path:
    for split in ("train", "test"):
        inner = [stored(row) for row in rows if row["split"] == split]
        for shard in range(2):
            table = pa.Table.from_pylist(inner[shard * 3 : shard * 3 + 3])
            pq.write_table(table, folder / f"{split}-{shard:05d}-of-00002.parquet", row_group_size=2)
    return folder


def hub_layout(folder: Path, rows: list[Row], train: str = "train") -> Path:
    for split, place in (("train", train), ("test", "test")):
        (folder / "clean" / place).mkdir(parents=True)
        inner = [stored(row) for row in rows if row["split"] == split]
        pq.write_table(pa.Table.from_pylist(inner), folder / "clean" / place / "0000.parquet")
    return folder


def arrow(rows: list[Row]) -> datasets.Dataset:
    plain = [{**stored(row), "split": row["split"]} for row in rows]
    return datasets.Dataset.from_list(plain).cast_column("audio", datasets.Audio(sampling_rate=16_000))


def arrow_by_split(rows: list[Row]) -> datasets.DatasetDict:
    parts = {split: [row for row in rows if row["split"] == split] for split in ("train", "test")}
    return datasets.DatasetDict({split: arrow(part).remove_columns("split") for split, part in parts.items()})


def arrays(rows: list[Row]) -> list[Row]:
    read = [(row, *soundfile.read(row["file"], dtype="int16")) for row in rows]
    return [
        {"audio": {"array": samples, "sampling_rate": rate}, "text": row["text"], "split": row["split"]}
        for row, samples, rate in read
    ]


def utterances(rows: list[Row]) -> dict[str, list[Utterance]]:
    by_split: dict[str, list[Utterance]] = {"train": [], "test": []}
    for row in rows:
        by_split[row["split"]].append(Utterance(row["id"], Path(row["file"]), row["text"]))
    return by_split


KINDS: dict[str, Callable[[Path, list[Row]], Any]] = {
    "openslr folder": openslr_folder,
    "openslr folder's parent": lambda folder, rows: openslr_folder(folder, rows).parent,
    "openslr tar.gz": openslr_tar,
    "openslr tar, transcripts first": lambda folder, rows: openslr_tar(
        folder, rows, lambda name: (name.endswith(".flac"), name), "w"
    ),
    "openslr tar, transcripts last": lambda folder, rows: openslr_tar(
        folder, rows, lambda name: (name.endswith(".txt"), name)
    ),
    "metadata folder": metadata_folder,
    "metadata in split folders": split_metadata_folders,
    "jsonl": jsonl,
    "csv": lambda folder, rows: delimited(folder, rows, ",", ".csv"),
    "tsv": lambda folder, rows: delimited(folder, rows, "\t", ".tsv"),
    "parquet shards": parquet_shards,
    "parquet in the Hub's layout": hub_layout,
    "Dataset": lambda folder, rows: arrow(rows),
    "DatasetDict": lambda folder, rows: arrow_by_split(rows),
    "IterableDatasetDict": lambda folder, rows: datasets.IterableDatasetDict(
        {split: part.to_iterable_dataset() for split, part in arrow_by_split(rows).items()}
    ),
    "list of dicts": lambda folder, rows: arrays(rows),
    "utterances by split": lambda folder, rows: utterances(rows),
}


@pytest.fixture(scope="module", params=KINDS)
def section(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, rows: list[Row]
) -> DataSection:
    folder = tmp_path_factory.mktemp("corpus")
    return DataSection(source=KINDS[request.param](folder, rows))


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_kind_of_source_gives_the_same_samples_and_text(
    section: DataSection, split: str, rows: list[Row]
) -> None:
    expected = {
        row["text"]: soundfile.read(row["file"], dtype="float32")[0] for row in rows if row["split"] == split
    }
    found = {utterance.text: decode(utterance).waveform for utterance in open_source(section, split)}
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[text], expected[text]) for text in expected)


def test_every_kind_of_source_starts_anew_in_the_same_order_with_unique_ids(section: DataSection) -> None:
    source = open_source(section, "all")
    ids = [utterance.id for utterance in source]
    next(iter(source))
    assert ids == [utterance.id for utterance in source]
    assert len(ids) == len(set(ids)) == 12
    assert source.count in (12, None)
    assert source.count == 12 or source.is_stream


def test_every_kind_of_source_survives_pickling(section: DataSection) -> None:
    source = open_source(section, "test")
    copy: Source = pickle.loads(pickle.dumps(source))
    assert [utterance.id for utterance in copy] == [utterance.id for utterance in source]


def test_every_kind_of_source_takes_its_own_splits_for_the_default_ones(section: DataSection) -> None:
    train, scored = open_split(section, "train"), open_split(section, "eval")
    assert len(list(train)) == len(list(scored)) == 6
    assert scored.split == "test" or scored.split.endswith("/test")
    assert [row.id for row in open_split(section, "dev")] == [row.id for row in scored]


def test_every_kind_of_source_refuses_a_split_it_does_not_have(section: DataSection) -> None:
    named = section.model_copy(update={"eval": "tset"})
    with pytest.raises(DataError, match=r"no split 'tset'.*Known: .*test"):
        open_split(named, "eval")


def write_parquet(path: Path, rows: list[Row]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_recognise_names_the_kind_of_a_path(tmp_path: Path, rows: list[Row]) -> None:
    expected = {
        "openslr-folder": openslr_folder,
        "openslr-tar": openslr_tar,
        "metadata-folder": metadata_folder,
        "manifest": jsonl,
        "parquet": parquet_shards,
    }
    for kind, write in expected.items():
        folder = tmp_path / kind
        folder.mkdir()
        assert recognise(write(folder, rows)) == kind


@pytest.mark.parametrize("name", ["speech.docx", "empty"])
def test_what_is_no_corpus_is_refused_with_the_kinds_there_are(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch() if path.suffix else path.mkdir()
    with pytest.raises(DataError, match=r"no known kind.*metadata\.jsonl"):
        open_split(DataSection(source=path), "train")


def test_a_missing_path_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing"):
        open_split(DataSection(source=str(tmp_path / "nothing")), "train")


def test_a_name_that_is_neither_path_nor_on_the_hub_says_both() -> None:
    with pytest.raises(DataError, match="no path here, and the Hub does not give it"):
        open_split(DataSection(source="nobody/nothing"), "train")


@pytest.fixture
def librispeech_asr(tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> Path:
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
        "whisper_peft.data.sources.open_hub",
        lambda repo, section, wanted: open_hub(folder, section, wanted=wanted),
    )
    return tmp_path


def test_the_hubs_librispeech_is_streamed_by_default(librispeech_asr: Path, rows: list[Row]) -> None:
    section = DataSection()
    train, scored = open_split(section, "train"), open_split(section, "eval")
    assert (train.split, scored.split) == ("clean/train.100", "clean/validation")
    assert train.is_stream
    for source, split in ((train, "train"), (scored, "test")):
        assert [decode(row).text for row in source] == [row["text"] for row in rows if row["split"] == split]
        assert [row.speaker_id for row in source] == [row["speaker"] for row in rows if row["split"] == split]
    again = DataSection(train=train.split, eval=scored.split)
    assert [row.id for row in open_split(again, "eval")] == [row.id for row in scored]


def test_a_configuration_that_no_split_name_tells_is_asked_for(librispeech_asr: Path) -> None:
    with pytest.raises(DataError, match=r"needs data\.config.*clean, other"):
        open_split(DataSection(eval="test"), "eval")
    assert open_split(DataSection(eval="test", config="other"), "eval").split == "other/test"
    with pytest.raises(DataError, match=r"data\.config is 'othr'.*did you mean other\?"):
        open_split(DataSection(eval="test", config="othr"), "eval")


def test_openslr_recordings_and_transcripts_without_the_other_are_counted(
    tmp_path: Path, rows: list[Row]
) -> None:
    root = openslr_folder(tmp_path, rows)
    (extra,) = root.glob(f"train/*/*/{rows[-1]['id']}.flac")
    extra.rename(extra.with_name("10-100-9999.flac"))
    section = DataSection(source=root)
    check = check_rows(open_source(section, "train"), section=section, label_length=lambda row: 1)
    assert check.skipped == {"missing": 1, "empty-text": 1}
    assert len(check.kept) == 5


def test_folder_of_openslr_archives_has_the_splits_of_their_names(tmp_path: Path, rows: list[Row]) -> None:
    for split in ("train", "test"):
        inner = [row for row in rows if row["split"] == split]
        openslr_tar(tmp_path / split, inner).rename(tmp_path / f"{split}.tar.gz")
        for path in sorted((tmp_path / split).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (tmp_path / split).rmdir()
    assert recognise(tmp_path) == "openslr-tar"
    assert len(list(open_source(DataSection(source=tmp_path), "test"))) == 6


def test_an_archive_without_its_end_is_refused(tmp_path: Path, rows: list[Row]) -> None:
    archive = openslr_tar(tmp_path, rows)
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(DataError, match="cannot be read to its end"):
        list(open_source(DataSection(source=archive), "all"))


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(__file__, "other.py")
    with pytest.raises(DataError, match="not laid out like LibriSpeech"):
        open_source(DataSection(source=tmp_path / "other.tar"), "all")


def test_recordings_that_wait_for_transcripts_without_end_are_refused(
    tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = openslr_tar(tmp_path, rows, lambda name: (name.endswith(".txt"), name))
    monkeypatch.setattr("whisper_peft.data.archives._PENDING_BYTES", 200_000)
    with pytest.raises(DataError, match="before their transcripts"):
        list(ArchiveRows((archive,)))


def write_lines(path: Path, *lines: str) -> DataSection:
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return DataSection(source=path)


def test_paths_out_of_the_folder_and_malformed_rows_are_counted(tmp_path: Path, rows: list[Row]) -> None:
    good = json.dumps({"audio": rows[0]["file"], "text": "Good."})
    outside = json.dumps({"audio": "a/../../secret.wav", "text": "Bad."})
    section = write_lines(tmp_path / "speech.jsonl", good, outside, "{broken", "[1]", "", "[" * 100_000)
    check = check_rows(open_source(section, "all"), section=section, label_length=lambda row: 1)
    assert check.skipped == {"path-outside": 1, "malformed-row": 3}
    assert [row.text for row in check.kept] == ["Good."]


def test_a_csv_row_with_a_comma_too_many_is_counted_not_cut(tmp_path: Path, rows: list[Row]) -> None:
    section = write_lines(
        tmp_path / "speech.csv", "audio,text", f"{rows[0]['file']},Yes, sir", "a.wav", "b.wav,B"
    )
    source = open_source(section, "all")
    assert [row.text for row in source] == ["B"]
    assert source.skipped == {"malformed-row": 2}
    with pytest.raises(DataError, match=r"no row .* malformed-row: 2; missing: 1 \(b\)"):
        check_rows(source, section=section, label_length=lambda row: 1)


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


def test_an_iterator_is_refused_since_it_ends_after_one_epoch(rows: list[Row]) -> None:
    with pytest.raises(DataError, match="only once"):
        open_source(DataSection(source=iter(arrays(rows))), "all")


@pytest.mark.parametrize(
    ("source", "message"), [([], "is empty"), ([3], "of type int"), (7, "no rows in it")]
)
def test_what_holds_no_rows_is_refused(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(DataSection(source=source), "all")


def test_dataset_ids_used_twice_carry_their_place(rows: list[Row]) -> None:
    doubled = datasets.concatenate_datasets([arrow(rows[:2]), arrow(rows[:2])]).remove_columns("split")
    ids = [row.id for row in open_source(DataSection(source=doubled), "all")]
    assert len(set(ids)) == 4


class _LongStream:
    """A stream of rows that are made as they are read."""

    def __init__(self, rows: int, content: bytes) -> None:
        self.rows, self.content = rows, content

    def __iter__(self) -> Iterator[Row]:
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
