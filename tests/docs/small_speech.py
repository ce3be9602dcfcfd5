"""A few short prompts, laid out as the speech that pages speak of.

No row names its language, as few tables do: a command that needs one has to say it.
"""

import csv
import shutil

import soundfile

SPLITS = {"train": 4, "test": 2}
"""Rows of each split."""


def shortest(prompts):
    """Return the shortest prompts of each split."""
    by_length = sorted(prompts, key=lambda row: row["duration_s"])
    return [
        row
        for split, number in SPLITS.items()
        for row in [row for row in by_length if row["split"] == split][:number]
    ]


def write_table(path, rows):
    """Write a CSV table of recordings, texts and splits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "text", "split"])
        table.writerows([row["file_name"], row["text"], row["split"]] for row in rows)


def write_librispeech(folder, rows):
    """Write an OpenSLR folder: a speaker with one chapter for each split."""
    for speaker, (split, name) in enumerate({"train": "train-clean-100", "test": "dev-clean"}.items(), 1):
        chapter = folder / name / str(speaker) / "1"
        chapter.mkdir(parents=True)
        lines = []
        for place, row in enumerate(row for row in rows if row["split"] == split):
            key = f"{speaker}-1-{place:04d}"
            shutil.copyfile(row["file_name"], chapter / f"{key}.flac")
            lines.append(f"{key} {row['text']}\n")
        (chapter / f"{speaker}-1.trans.txt").write_text("".join(lines), encoding="utf-8")


def lay_out(folder, prompts):
    """Put what the README's commands name into a folder: tables, recordings and a LibriSpeech."""
    rows = shortest(prompts)
    for table in ("my.csv", "my/speech/speech.csv", "other/speech/speech.csv"):
        write_table(folder / table, rows)
    write_librispeech(folder / "LibriSpeech", rows)
    (folder / "recordings").mkdir()
    shutil.copy(rows[0]["file_name"], folder / "recordings")
    soundfile.write(folder / "talk.mp3", *soundfile.read(rows[1]["file_name"]))
