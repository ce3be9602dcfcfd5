"""The same twenty utterances in every layout that people keep speech in."""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from whisper_peft.types import SAMPLING_RATE, Utterance, Waveform

GAP_S = 3
"""Seconds of nothing between two utterances of a long recording."""


@dataclass(frozen=True)
class Spoken:
    """An utterance as every layout has to give it back."""

    id: str
    text: str
    split: str
    samples: np.ndarray
    """16 kHz, 16 bits."""

    @property
    def speaker(self) -> str:
        return self.id.partition("-")[0]

    @property
    def waveform(self) -> Waveform:
        return (self.samples / 32768).astype(np.float32)

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLING_RATE

    def write(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, self.samples, SAMPLING_RATE, "PCM_16")
        return path


def spoken(prompts: Sequence[dict[str, Any]]) -> list[Spoken]:
    """Return fourteen training and six test prompts, cut to whole milliseconds, as subtitles count."""
    chosen = [row for row in prompts if row["split"] == "train"][:14]
    chosen += [row for row in prompts if row["split"] == "test"][:6]
    found = []
    for number, row in enumerate(chosen):
        samples, rate = soundfile.read(row["file_name"], dtype="int16")
        assert rate == SAMPLING_RATE
        name = f"{10 + number % 2}-{100 + number % 4}-{number:04d}"
        found.append(Spoken(name, row["text"], row["split"], samples[: len(samples) // 16 * 16]))
    return found


def of_split(rows: Sequence[Spoken], split: str) -> list[Spoken]:
    return [row for row in rows if row.split == split]


def openslr_folder(folder: Path, rows: Sequence[Spoken]) -> Path:
    for row in rows:
        speaker, chapter, _ = row.id.split("-")
        file = row.write(folder / "LibriSpeech" / row.split / speaker / chapter / f"{row.id}.flac")
        with (file.parent / f"{speaker}-{chapter}.trans.txt").open("a") as transcripts:
            transcripts.write(f"{row.id} {row.text}\n")
    return folder / "LibriSpeech"


def openslr_tar(folder: Path, rows: Sequence[Spoken], suffix: str, order: Callable[[str], Any] = str) -> Path:
    root = openslr_folder(folder, rows)
    archive = folder / f"speech{suffix}"
    files = [path for path in root.rglob("*") if path.is_file()]
    with tarfile.open(archive, "w:gz" if suffix.endswith("gz") else "w") as tar:
        for path in sorted(files, key=lambda path: order(str(path))):
            tar.add(path, path.relative_to(folder))
    return archive


def metadata_folder(folder: Path, rows: Sequence[Spoken]) -> Path:
    lines = []
    for row in rows:
        row.write(folder / row.split / f"{row.id}.flac")
        lines.append({"file_name": f"{row.split}/{row.id}.flac", "text": row.text})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def split_metadata_folders(folder: Path, rows: Sequence[Spoken]) -> Path:
    for split in ("train", "test"):
        table = [["file_name", "transcription"]]
        for row in of_split(rows, split):
            row.write(folder / split / f"{row.id}.flac")
            table.append([f"{row.id}.flac", row.text])
        with (folder / split / "metadata.csv").open("w", newline="") as file:
            csv.writer(file).writerows(table)
    return folder


def jsonl(folder: Path, rows: Sequence[Spoken], name: str = "speech.jsonl") -> Path:
    lines = []
    for row in rows:
        file = row.write(folder / "recordings" / f"{row.id}.wav")
        lines.append({"audio": str(file), "text": row.text, "split": row.split, "id": row.id})
    (folder / name).write_text("".join(json.dumps(line) + "\r\n" for line in lines), "utf-8-sig")
    return folder / name


def jsonl_by_split(folder: Path, rows: Sequence[Spoken]) -> Path:
    for split in ("train", "test"):
        lines = [
            {"path": str(row.write(folder / f"{row.id}.wav").name), "sentence": row.text}
            for row in of_split(rows, split)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def delimited(folder: Path, rows: Sequence[Spoken], delimiter: str, suffix: str) -> Path:
    with (folder / f"speech{suffix}").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["path", "sentence", "split", "client_id"])
        for row in rows:
            row.write(folder / "recordings" / f"{row.id}.flac")
            writer.writerow([f"recordings/{row.id}.flac", row.text, row.split, row.speaker])
    return folder / f"speech{suffix}"


def long_recording(file: Path, rows: Sequence[Spoken]) -> list[float]:
    """Write utterances into one recording, a gap before each, and return where they begin. Seconds."""
    starts, samples = [], []
    for row in rows:
        samples.append(np.zeros(GAP_S * SAMPLING_RATE, np.int16))
        starts.append(sum(map(len, samples)) / SAMPLING_RATE)
        samples.append(row.samples)
    soundfile.write(file, np.concatenate(samples), SAMPLING_RATE, "PCM_16")
    return starts


def nemo(folder: Path, rows: Sequence[Spoken]) -> Path:
    starts = long_recording(folder / "day.flac", rows)
    lines = [
        {
            "audio_filepath": "day.flac",
            "text": row.text,
            "offset": start,
            "duration": row.duration_s,
            "split": row.split,
        }
        for row, start in zip(rows, starts, strict=True)
    ]
    (folder / "manifest.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "manifest.json"


def common_voice(folder: Path, rows: Sequence[Spoken]) -> Path:
    tables = {"train": of_split(rows, "train"), "test": of_split(rows, "test"), "validated": list(rows)}
    for name, inner in tables.items():
        lines = ["client_id\tpath\tsentence_id\tsentence\tup_votes\tlocale"]
        for row in inner:
            row.write(folder / "clips" / f"common_voice_en_{row.id}.flac")
            lines.append(f"{row.speaker}\tcommon_voice_en_{row.id}.flac\tx\t{row.text}\t2\ten")
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    for name in ("invalidated", "other"):
        (folder / f"{name}.tsv").write_text("client_id\tpath\tsentence\tlocale\n7\tno.mp3\tNo.\ten\n")
    return folder


def kaldi(folder: Path, rows: Sequence[Spoken], *, segments: bool) -> Path:
    for split in ("train", "test"):
        place = folder / "data" / split
        place.mkdir(parents=True)
        inner = sorted(of_split(rows, split), key=lambda row: row.id)
        if segments:
            starts = long_recording(folder / f"{split}.flac", inner)
            wavs = [f"day-{split} {split}.flac"]
            places = zip(inner, starts, strict=True)
            table(place / "segments", (f"{r.id} day-{split} {s} {s + r.duration_s:.3f}" for r, s in places))
        else:
            wavs = [f"{row.id} {row.write(folder / 'wav' / f'{row.id}.wav')}" for row in inner]
        table(place / "wav.scp", wavs)
        table(place / "text", (f"{row.id} {row.text}" for row in inner))
        table(place / "utt2spk", (f"{row.id} {row.speaker}" for row in inner))
        table(place / "utt2lang", (f"{row.id} en" for row in inner))
    return folder / "data"


def table(path: Path, lines: Any) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def ljspeech(folder: Path, rows: Sequence[Spoken]) -> Path:
    for row in rows:
        row.write(folder / "wavs" / f"{row.id}.wav")
    table(folder / "metadata.csv", (f"{row.id}|{row.text}|{row.text.lower()}" for row in rows))
    return folder


def side_by_side(folder: Path, rows: Sequence[Spoken]) -> Path:
    for row in rows:
        file = row.write(folder / row.split / row.speaker / f"{row.id}.WAV")
        file.with_suffix(".txt").write_text(row.text.replace(" ", "\r\n", 1), "utf-8-sig")
    return folder


def subtitled(folder: Path, rows: Sequence[Spoken], suffix: str) -> Path:
    for split in ("train", "test"):
        (folder / split).mkdir()
        inner = of_split(rows, split)
        starts = long_recording(folder / split / "day one.flac", inner)
        lines = ["WEBVTT", ""] if suffix == ".vtt" else []
        for number, (row, start) in enumerate(zip(inner, starts, strict=True), 1):
            times = f"{clock(start, suffix)} --> {clock(start + row.duration_s, suffix)}"
            lines += [str(number), times, f"<i>{row.text}</i>", ""]
        (folder / split / f"day one{suffix}").write_text("\r\n".join(lines), "utf-8-sig")
    return folder


def clock(seconds: float, suffix: str) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    point = "," if suffix == ".srt" else "."
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{point}{milliseconds:03d}"


def stored(row: Spoken, folder: Path) -> dict[str, Any]:
    """Return a row of openslr/librispeech_asr as the Hub stores it."""
    audio = {"bytes": row.write(folder / f"{row.id}.flac").read_bytes(), "path": f"{row.id}.flac"}
    speaker, chapter, _ = row.id.split("-")
    ids = {"speaker_id": int(speaker), "chapter_id": int(chapter), "id": row.id}
    return {"file": f"{row.id}.flac", "audio": audio, "text": row.text, **ids}


def parquet_shards(folder: Path, rows: Sequence[Spoken]) -> Path:
    for split in ("train", "test"):
        inner = [stored(row, folder / "flac") for row in of_split(rows, split)]
        half = len(inner) // 2
        for shard, part in enumerate((inner[:half], inner[half:])):
            file = folder / "data" / f"{split}-{shard:05d}-of-00002.parquet"
            file.parent.mkdir(exist_ok=True)
            pq.write_table(pa.Table.from_pylist(part), file, row_group_size=2)
    return folder / "data"


def hub_layout(folder: Path, rows: Sequence[Spoken], train: str = "train") -> Path:
    for split, place in (("train", train), ("test", "test")):
        (folder / "clean" / place).mkdir(parents=True)
        inner = [stored(row, folder / "flac") for row in of_split(rows, split)]
        pq.write_table(pa.Table.from_pylist(inner), folder / "clean" / place / "0000.parquet")
    return folder


def hub_stream(folder: Path, rows: Sequence[Spoken]) -> datasets.IterableDatasetDict:
    root = hub_layout(folder, rows)
    files = {split: str(root / "clean" / split / "0000.parquet") for split in ("train", "test")}
    return datasets.load_dataset("parquet", data_files=files, streaming=True, cache_dir=str(folder / "cache"))


def arrow(folder: Path, rows: Sequence[Spoken]) -> datasets.Dataset:
    plain = [{**stored(row, folder / "flac"), "split": row.split} for row in rows]
    return datasets.Dataset.from_list(plain).cast_column("audio", datasets.Audio(sampling_rate=16_000))


def arrow_by_split(folder: Path, rows: Sequence[Spoken]) -> datasets.DatasetDict:
    parts = {split: of_split(rows, split) for split in ("train", "test")}
    return datasets.DatasetDict(
        {split: arrow(folder, part).remove_columns("split") for split, part in parts.items()}
    )


def arrow_streams(folder: Path, rows: Sequence[Spoken]) -> datasets.IterableDatasetDict:
    parts = arrow_by_split(folder, rows)
    return datasets.IterableDatasetDict({split: part.to_iterable_dataset() for split, part in parts.items()})


def arrays(rows: Sequence[Spoken]) -> list[dict[str, Any]]:
    return [
        {"audio": {"array": row.samples, "sampling_rate": 16_000}, "text": row.text, "split": row.split}
        for row in rows
    ]


def utterances(folder: Path, rows: Sequence[Spoken]) -> dict[str, list[Utterance]]:
    return {
        split: [
            Utterance(row.id, row.write(folder / f"{row.id}.flac"), row.text) for row in of_split(rows, split)
        ]
        for split in ("train", "test")
    }


LAYOUTS: dict[str, Callable[[Path, Sequence[Spoken]], Any]] = {
    "openslr folder": openslr_folder,
    "openslr folder's parent": lambda folder, rows: openslr_folder(folder, rows).parent,
    "openslr tar, transcripts first": lambda folder, rows: openslr_tar(
        folder, rows, ".tar", lambda name: (name.endswith(".flac"), name)
    ),
    "openslr tar.gz": lambda folder, rows: openslr_tar(folder, rows, ".tar.gz"),
    "openslr tar.gz, transcripts last": lambda folder, rows: openslr_tar(
        folder, rows, ".tar.gz", lambda name: (name.endswith(".txt"), name)
    ),
    "parquet shards": parquet_shards,
    "parquet in the Hub's layout": hub_layout,
    "parquet streamed by datasets": hub_stream,
    "common voice": common_voice,
    "metadata folder": metadata_folder,
    "metadata in split folders": split_metadata_folders,
    "jsonl": jsonl,
    "folder of one jsonl": lambda folder, rows: jsonl(folder, rows).parent,
    "folder of a jsonl for each split": jsonl_by_split,
    "csv": lambda folder, rows: delimited(folder, rows, ",", ".csv"),
    "tsv": lambda folder, rows: delimited(folder, rows, "\t", ".tsv"),
    "nemo manifest of one recording": nemo,
    "kaldi": lambda folder, rows: kaldi(folder, rows, segments=False),
    "kaldi with segments": lambda folder, rows: kaldi(folder, rows, segments=True),
    "ljspeech": ljspeech,
    "side by side": side_by_side,
    "srt": lambda folder, rows: subtitled(folder, rows, ".srt"),
    "vtt": lambda folder, rows: subtitled(folder, rows, ".vtt"),
    "Dataset": arrow,
    "DatasetDict": arrow_by_split,
    "IterableDatasetDict": arrow_streams,
    "list of dicts": lambda folder, rows: arrays(rows),
    "utterances by split": utterances,
}

WITHOUT_SPLITS = ("ljspeech",)
