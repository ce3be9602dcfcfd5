"""Every hostile input as one list: what it is, what is given as data.source, and what has to come of it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.hostile.corpora import Corpus, corpora
from tests.hostile.layouts import layouts
from tests.hostile.packed_corpora import packed_corpora
from tests.hostile.recordings import FINE, TEXT, Recording, recordings
from tests.hostile.speech import Spoken, flac, good_rows, samples, write_good_recordings
from tests.hostile.written_rows import SPEECH, Row, rows


@dataclass(frozen=True)
class Result:
    """What has come of an input."""

    skipped: Mapping[str, int]
    spoken: tuple[Spoken, ...]


@dataclass(frozen=True)
class Hostile:
    """An input that something is wrong with.

    Attributes:
        name: What it is called in tests and tables.
        group: recording, row or corpus.
        what: What is wrong with it.
        outcome: What comes of it, in words.
        build: Writes it into an empty folder and returns what to give as data.source.
        results: What may be left out, by reason, and the rows that have to come out then.
        refused: A pattern of the message with which it is refused as a whole; empty: it is not.
    """

    name: str
    group: str
    what: str
    outcome: str
    build: Callable[[Path], Path]
    results: tuple[Result, ...]
    refused: str = ""


@functools.cache
def hostile_inputs() -> tuple[Hostile, ...]:
    """Return all of them."""
    found = (
        *map(_of_recording, recordings()),
        *map(_of_row, rows()),
        *map(_of_corpus, (*corpora(), *layouts(), *packed_corpora())),
    )
    names = [one.name for one in found]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ValueError(f"names are used twice: {repeated}")
    return found


def write_folder(folder: Path, hostile: Sequence[Recording | Row]) -> Path:
    """Write the good rows and hostile ones into a folder with a metadata.jsonl."""
    lines = [json.dumps(row).encode() for row in write_good_recordings(folder)]
    (folder / SPEECH).write_bytes(flac())
    for one in hostile:
        if isinstance(one, Recording):
            one.put(folder)
        lines.append(one.line if isinstance(one, Row) else _line_of(one))
    (folder / "metadata.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return folder


def _line_of(recording: Recording) -> bytes:
    return json.dumps({"file_name": recording.cell, "text": TEXT}).encode()


def _of_recording(one: Recording) -> Hostile:
    return _in_a_folder(one, "recording", one.spoken)


def _of_row(one: Row) -> Hostile:
    return _in_a_folder(one, "row", Spoken(one.text, samples()))


def _in_a_folder(one: Recording | Row, group: str, spoken: Spoken) -> Hostile:
    fine, refused = Result({}, (*good_rows(), spoken)), good_rows()
    results = (fine if word == FINE else Result({word: 1}, refused) for word in one.outcome.split(" or "))
    build = partial(_build, one)
    return Hostile(one.name, group, one.what, one.outcome, build, tuple(results))


def _build(one: Recording | Row, folder: Path) -> Path:
    return write_folder(folder, [one])


def _of_corpus(one: Corpus) -> Hostile:
    counted = ", ".join(f"{reason}: {count}" for reason, count in sorted(one.skipped.items()))
    outcome = "refused as a whole" if one.refused else counted or FINE
    return Hostile(
        one.name, "corpus", one.what, outcome, one.build, (Result(one.skipped, one.spoken),), one.refused
    )
