"""How much of what is wrong with a corpus does `inspect` find? Spoils a copy in known ways, and counts.

    python tests/benchmarks/spoiled_speech.py ../shared/data/accented runs/spoiled --listen

Found: rows spoiled in a way that are named for a fitting reason. False alarms: rows left as they were and
named all the same; the corpus as it is may have rows that deserve it.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

import whisper_peft
from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.sources.opening import open_splits
from whisper_peft.data.splits import is_for_scoring
from whisper_peft.data.survey.findings import Inspection
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import SAMPLING_RATE, Waveform

ROWS_A_WAY = 10

LEAST_WORDS = 8
"""Of a text of which a word is left out; of a shorter one too little is left to know it by."""

OTHER_WORDS = {"not-as-heard", "hard-to-hear", "unusual-rate", "impossible-rate"}

FITTING = {
    "texts swapped": OTHER_WORDS,
    "texts shifted by one row": OTHER_WORDS,
    "second half of the audio cut off": OTHER_WORDS,
    "second half of the text left out": OTHER_WORDS,
    "clipped at an eighth of the peak": {"clipped"},
    "white noise at 0 dB": {"noisy"},
    "recording twice, once as wav": {"repeated-audio"},
    "recording twice, once with another text": {"two-texts"},
    "recording twice, once as Ogg Vorbis at half the loudness": {"nearly-same-audio"},
    "recording twice, once as MP3": {"nearly-same-audio"},
    "recording in the test split too": {"leaked-audio"},
    "text of a test row but for a word": {"nearly-scored-text"},
    "text empty": {"empty-text"},
    "text in another script": {"other-script"},
    "file cut off in the middle": {"truncated", "unreadable"},
    "file missing": {"missing"},
}
"""What is done to rows, and the reasons that name it."""


@dataclass(frozen=True)
class Row:
    """A row of the copy; `way` says how it was spoiled, None where it was not."""

    name: str
    waveform: Waveform
    text: str
    split: str
    speaker_id: str | None
    way: str | None = None
    suffix: str = ".flac"


def read_rows(source: Path) -> list[Row]:
    """Decode all splits; the scored ones are called test, the others train."""
    return [
        Row(
            f"{split.split}-{place:05d}",
            decode(utterance).waveform,
            utterance.text,
            "test" if is_for_scoring(split.split) else "train",
            utterance.speaker_id,
        )
        for split in open_splits(DataSection(source=source))
        for place, utterance in enumerate(split)
    ]


def spoil(rows: list[Row], rng: random.Random) -> list[Row]:
    """Return the rows with some of the training rows spoiled in each way, each in one."""
    training = [row for row in rows if row.split == "train"]
    start = rng.randrange(len(training) - ROWS_A_WAY - 1)
    shifted, after = training[start : start + ROWS_A_WAY], training[start + 1 : start + ROWS_A_WAY + 1]
    left = [row for row in training if row not in (*shifted, *after)]
    rng.shuffle(left)

    def take() -> list[Row]:
        return [left.pop() for _ in range(ROWS_A_WAY)]

    changed = [
        *_with_texts("texts shifted by one row", shifted, after),
        *_with_texts("texts swapped", swapped := take(), swapped[::-1]),
        *(replace(change(row), way=way) for way, change in CHANGES.items() for row in take()),
    ]
    in_both = take()
    changed += [replace(row, way="recording in the test split too") for row in in_both]
    added = [replace(row, name=f"copy {row.name}", split="test", way="the copy in test") for row in in_both]
    added += [
        replace(row, name=f"{row.name} again", suffix=".wav", way="recording twice, once as wav")
        for row in take()
    ]
    other = "recording twice, once with another text"
    added += [
        replace(row, name=f"{row.name} other", text="Something else was said.", way=other) for row in take()
    ]
    vorbis, mp3 = (way for way, reasons in FITTING.items() if "nearly-same-audio" in reasons)
    added += [
        replace(
            row, name=f"{row.name} anew", suffix=".ogg", waveform=row.waveform * np.float32(0.5), way=vorbis
        )
        for row in take()
    ]
    added += [replace(row, name=f"{row.name} anew", suffix=".mp3", way=mp3) for row in take()]
    scored = [row for row in rows if row.split == "test" and len(row.text.split()) >= LEAST_WORDS]
    known = rng.sample(scored, ROWS_A_WAY)
    shorter = [replace(row, text=row.text.partition(" ")[2]) for row in known]
    changed += _with_texts("text of a test row but for a word", take(), shorter)
    replaced = {row.name: row for row in changed}
    return [*(replaced.get(row.name, row) for row in rows), *added]


def _with_texts(way: str, rows: list[Row], givers: list[Row]) -> Iterator[Row]:
    for row, giver in zip(rows, givers, strict=True):
        yield replace(row, text=giver.text, way=way)


def _noisy(row: Row) -> Row:
    noise = np.random.default_rng(len(row.waveform)).normal(size=len(row.waveform))
    noisy = row.waveform + noise * np.sqrt(np.mean(row.waveform**2) / np.mean(noise**2))
    return replace(row, waveform=noisy.astype(np.float32) / max(1.0, float(np.abs(noisy).max())))


CHANGES: dict[str, Callable[[Row], Row]] = {
    "second half of the audio cut off": lambda row: replace(
        row, waveform=row.waveform[: len(row.waveform) // 2]
    ),
    "second half of the text left out": lambda row: replace(row, text=row.text[: len(row.text) // 2]),
    "clipped at an eighth of the peak": lambda row: replace(
        row, waveform=np.clip(row.waveform * 8 / np.abs(row.waveform).max(), -1, 1) / 2
    ),
    "white noise at 0 dB": _noisy,
    "text empty": lambda row: replace(row, text=" "),
    "text in another script": lambda row: replace(row, text="Это совсем другой текст, его никто не читал"),
    "file cut off in the middle": lambda row: row,
    "file missing": lambda row: row,
}


def write_rows(rows: list[Row], folder: Path) -> None:
    """Write recordings and `metadata.jsonl`."""
    lines = []
    for row in rows:
        name = f"{row.split}/{row.name}{row.suffix}"
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if row.way != "file missing":
            subtype = None if row.suffix in (".ogg", ".mp3") else "PCM_16"
            soundfile.write(file, row.waveform, SAMPLING_RATE, subtype=subtype)
        if row.way == "file cut off in the middle":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        fields = {"file_name": name, "id": row.name, "text": row.text, "split": row.split}
        lines.append(json.dumps(fields | {"speaker_id": row.speaker_id}, ensure_ascii=False))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def table(rows: list[Row], found: Inspection) -> str:
    """Return what was found of each way, and the false alarms of each reason, as two Markdown tables."""
    named = {(one.split, one.id): {reason.name for reason in one.reasons} for one in found.suspects}
    spoiled = Counter(row.way for row in rows if row.way in FITTING)
    hits = Counter(
        row.way for row in rows if FITTING.get(row.way or "", set()) & named.get((row.split, row.name), set())
    )
    right = Counter(
        reason
        for row in rows
        for reason in named.get((row.split, row.name), set()) & FITTING.get(row.way or "", set())
    )
    alarms = Counter(
        reason for row in rows if row.way is None for reason in named.get((row.split, row.name), set())
    )
    untouched = sum(row.way is None for row in rows)
    lines = ["| what was done | rows | found |", "|---|---|---|"]
    lines += [
        f"| {way} | {count} | {hits[way]} |"
        for way, count in sorted(spoiled.items(), key=lambda item: list(FITTING).index(str(item[0])))
    ]
    lines += [
        "",
        f"| reason | spoiled rows named | false alarms of {untouched} rows left as they were |",
        "|---|---|---|",
    ]
    lines += [f"| {reason} | {right[reason]} | {alarms[reason]} |" for reason in sorted({*right, *alarms})]
    return "\n".join(lines)


def main() -> None:
    """Spoil, inspect, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--listen", action="store_true")
    parser.add_argument("--model", default="openai/whisper-tiny.en")
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    rows = spoil(read_rows(words.source), random.Random(words.seed))
    write_rows(rows, words.folder)
    found = whisper_peft.inspect(
        words.folder, model={"name": words.model}, listen=words.listen, output_dir=words.folder / "inspection"
    )
    print(table(rows, found))


if __name__ == "__main__":
    main()
