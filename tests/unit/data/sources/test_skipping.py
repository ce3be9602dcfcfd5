"""Going on in the middle of a source: what comes is what would have come, and what was heard stays unread."""

import io
import logging
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whisper_peft.data.sources import archives, parquet, skipping
from whisper_peft.data.sources.opening import open_split
from whisper_peft.data.sources.skipping import PassedOver, keep_all, rows_after
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance

ROWS = 37


def parquet_folder(folder, **columns):
    for shard, numbers in enumerate((range(20), range(20, ROWS))):
        table = pa.table(
            {
                "audio": [{"bytes": f"audio {n}".encode(), "path": None} for n in numbers],
                "text": [f"text {n}" for n in numbers],
                **{name: [values[n] for n in numbers] for name, values in columns.items()},
            }
        )
        pq.write_table(table, folder / f"train-0000{shard}-of-00002.parquet", row_group_size=7)
    return folder


def archive(folder, *, transcript_first, suffix=".tar"):
    path = folder / f"train-clean-100{suffix}"
    with tarfile.open(path, "w:gz" if suffix.endswith("gz") else "w") as tar:
        for chapter in range(5):
            names = [f"19-{chapter}-{n:04}" for n in range(8)]
            text = "".join(f"{name} SAID {name}\n" for name in names).encode()
            members = [(f"{name}.flac", f"audio {name}".encode() * 50) for name in names]
            told = (f"19-{chapter}.trans.txt", text)
            for name, content in [told, *members] if transcript_first else [*members, told]:
                entry = tarfile.TarInfo(f"LibriSpeech/train-clean-100/19/{chapter}/{name}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return path


def stream(kind, tmp_path):
    if kind == "parquet":
        source = parquet_folder(tmp_path)
    elif kind == "parquet with rows refused":
        source = parquet_folder(tmp_path, task=["sing" if n % 5 == 0 else "transcribe" for n in range(ROWS)])
    elif kind == "parquet with a split column":
        (tmp_path / "data").mkdir()
        source = parquet_folder(tmp_path / "data", split=["train" if n % 3 else "test" for n in range(ROWS)])
        for file in sorted(source.iterdir()):
            file.rename(source / f"part{file.name[10]}.parquet")
    else:
        words = kind.split()
        source = archive(tmp_path, transcript_first="late" not in words, suffix=words[0])
    return open_split(DataSection(source=source, train="train"), "train")


KINDS = [
    "parquet",
    "parquet with rows refused",
    "parquet with a split column",
    ".tar",
    ".tar late",
    ".tar.gz",
    ".tar.gz late",
]


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_after_rows_is_what_would_have_come(kind, tmp_path):
    source = stream(kind, tmp_path)
    whole = list(source)
    refused = dict(source.skipped)
    assert len(whole) > 20
    for count in (0, 1, 7, 19, 20, 21, len(whole) - 1, len(whole), len(whole) + 5):
        assert list(source.after(count, keep_all)) == whole[count:]
        assert dict(source.skipped) == refused
    odd = [row for row in whole if int(row.text.split()[-1].split("-")[-1]) % 2]
    assert list(source.after(5, lambda row: row in odd or row.text in [one.text for one in odd])) == odd[5:]


def test_parts_of_a_stream_that_is_parted_by_a_rule_go_on_too(tmp_path):
    parquet_folder(tmp_path)
    for file in list(tmp_path.iterdir()):
        file.rename(tmp_path / f"part{file.name[10]}.parquet")
    for which in ("train", "eval"):
        source = open_split(DataSection(source=tmp_path), which)
        whole = list(source)
        assert 0 < len(whole) < ROWS
        assert list(source.after(2, keep_all)) == whole[2:]


def test_rows_of_a_manifest_keep_their_ids(tmp_path):
    manifest = tmp_path / "train.jsonl"
    manifest.write_text("".join('{"audio": "a.wav", "text": "A", "id": "same"}\n' for _ in range(4)))
    source = open_split(DataSection(source=manifest, train="all"), "train")
    whole = list(source)
    assert [row.id for row in whole] == ["same", "same-2", "same-3", "same-4"]
    assert list(source.after(2, keep_all)) == whole[2:]


def test_recordings_of_parquet_that_were_heard_are_not_read(tmp_path, monkeypatch):
    source, read = stream("parquet", tmp_path), []
    wanted = list(source)[30]
    real = parquet._rows

    def noted(shard, columns, first=0):
        read.append(("audio" in columns, first))
        return real(shard, columns, first)

    monkeypatch.setattr(parquet, "_rows", noted)
    assert next(source.after(30, keep_all)) == wanted
    assert read == [(False, 0), (False, 0), (True, int(wanted.text.split()[1]) - 20)]


def test_recordings_of_a_tar_that_were_heard_are_leapt_over(tmp_path, monkeypatch):
    source, read = stream(".tar late", tmp_path), []
    wanted = list(source)[30]
    real = archives._Member.read
    monkeypatch.setattr(
        archives._Member, "read", lambda member: read.append(member.name.suffix) or real(member)
    )
    assert next(source.after(30, keep_all)) == wanted
    assert read.count(".flac") == 1


def test_a_source_that_cannot_skip_is_read_and_tells_how_far_it_is(caplog):
    rows = [Utterance(str(n), b"", "text") for n in range(4)]
    assert [row.id for row in rows_after(rows, 3)] == ["3"]
    times = iter(range(0, 1000, 6))
    passed = PassedOver(5, "the stream", clock=lambda: next(times))
    with caplog.at_level(logging.WARNING, logger=skipping.__name__):
        assert [passed.is_past() for _ in range(7)] == [False] * 5 + [True] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "passing over what was heard before: row 2 of 5 of the stream",
        "passing over what was heard before: row 4 of 5 of the stream",
    ]
