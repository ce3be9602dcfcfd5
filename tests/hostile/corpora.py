"""Manifests, folders, archives and shards that are damaged, lie, or reach where they should not."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hostile.speech import Spoken, good_rows, samples, write_good_recordings

ALL_GOOD = (0, 1)


@dataclass(frozen=True)
class Corpus:
    """A whole source.

    Attributes:
        name: What it is called in tests and tables.
        what: What is wrong with it.
        build: Writes it into an empty folder and returns what to give as data.source.
        kept: Which of the good rows have to come out, and
        also: which rows behind them.
        skipped: What has to be left out, by reason.
        refused: A pattern of the message with which it is refused as a whole; empty: it is not.
    """

    name: str
    what: str
    build: Callable[[Path], Path]
    kept: tuple[int, ...] = ALL_GOOD
    also: tuple[Spoken, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    refused: str = ""

    @property
    def spoken(self) -> tuple[Spoken, ...]:
        """The rows that have to come out."""
        return (*(good_rows()[number] for number in self.kept), *self.also)


def corpora() -> tuple[Corpus, ...]:
    """Return all of them."""
    groups = (_encodings, _tables, _places)
    return tuple(corpus for group in groups for corpus in group())


def _manifest(name: str, text: Callable[[list[dict[str, str]]], bytes]) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / name).write_bytes(text(write_good_recordings(folder)))
        return folder / name

    return build


def _lines(rows: list[dict[str, str]], end: str = "\n") -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows)


def _table(rows: list[dict[str, Any]], separator: str = ",", end: str = "\n") -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), delimiter=separator, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _encodings() -> Iterator[Corpus]:
    bom = "\ufeff"
    yield Corpus(
        "jsonl-bom", "a jsonl with a BOM", _manifest("a.jsonl", lambda rows: (bom + _lines(rows)).encode())
    )
    yield Corpus(
        "csv-bom", "a csv with a BOM", _manifest("a.csv", lambda rows: (bom + _table(rows)).encode())
    )
    yield Corpus(
        "jsonl-crlf", "a jsonl with CRLF", _manifest("a.jsonl", lambda rows: _lines(rows, "\r\n").encode())
    )
    crlf = _manifest("a.csv", lambda rows: _table(rows, end="\r\n").encode())
    yield Corpus("csv-crlf", "a csv with CRLF", crlf)
    crlf = _manifest("a.tsv", lambda rows: _table(rows, "\t", "\r\n").encode())
    yield Corpus("tsv-crlf", "a tsv with CRLF", crlf)
    blank = _manifest("a.jsonl", lambda rows: _lines(rows, "\n\n \r\n").encode())
    yield Corpus("jsonl-blank-lines", "a jsonl with blank lines", blank)
    for form, text in (("jsonl", _lines), ("csv", _table)):
        utf16 = _manifest(f"a.{form}", lambda rows, text=text: text(rows).encode("utf-16"))
        yield Corpus(f"{form}-utf-16", f"a {form} in UTF-16", utf16)
    latin = _manifest(
        "a.csv", lambda rows: _table(rows).encode() + "good-1.flac,Voilà été\n".encode("latin-1")
    )
    yield Corpus("csv-latin-1-line", "a csv with a line in latin-1", latin, skipped={"not-utf8": 1})
    latin = _manifest(
        "a.tsv", lambda rows: _table(rows, "\t").encode() + "good-1.flac\tVoilà été\n".encode("latin-1")
    )
    yield Corpus("tsv-latin-1-line", "a tsv with a line in latin-1", latin, skipped={"not-utf8": 1})
    noise = _manifest("a.jsonl", lambda rows: bytes(range(256)) * 40)
    yield Corpus("jsonl-noise", "a jsonl of all bytes there are", noise, kept=(), refused="no row to read")


def _tables() -> Iterator[Corpus]:
    def table(name: str, what: str, more: str, **outcome: Any) -> Corpus:
        return Corpus(name, what, _manifest("a.csv", lambda rows: (_table(rows) + more).encode()), **outcome)

    yield table(
        "csv-ragged",
        "csv rows of 1 and 3 cells",
        "good-1.flac\ngood-1.flac,a,b\n",
        skipped={"malformed-row": 2},
    )
    yield table("csv-empty-rows", "csv rows of nothing but commas", ",\n,\n\n", skipped={"empty-text": 2})
    quote = 'good-1.flac,"never closed\ngood-2.flac,swallowed\n'
    yield table(
        "csv-open-quote", "a csv with a quote that is never closed", quote, skipped={"malformed-row": 2}
    )
    wide = f'good-1.flac,"{"w" * 10_000_000}"\n'
    yield table("csv-10-mb", "a csv with a cell of 10 MB", wide, skipped={"malformed-row": 1})
    yield table("csv-nul", "a csv with NULs", "good-1.flac,a\0b\n", also=(Spoken("a\0b", samples(1)),))
    tsv = _manifest("a.tsv", lambda rows: (_table(rows, "\t") + "good-1.flac\ngood-1.flac\ta\tb\n").encode())
    yield Corpus("tsv-ragged", "tsv rows of 1 and 3 cells", tsv, skipped={"malformed-row": 2})
    header = _manifest("a.csv", lambda rows: b"file_name,text\n")
    yield Corpus("csv-header-only", "a csv of a header", header, refused="no row")
    twice = _manifest("a.csv", lambda rows: b"file_name,text,text\ngood-1.flac,a,b\n")
    yield Corpus("csv-column-twice", "a csv with two columns of one name", twice, refused="twice")
    absent = _manifest("a.csv", lambda rows: b"file_name,price\ngood-1.flac,3\n")
    yield Corpus(
        "csv-no-text", "a csv without a column of text", absent, refused="no column that holds the text"
    )
    absent = _manifest("a.csv", lambda rows: b"words,text\ngood-1.flac,3\n")
    yield Corpus(
        "csv-no-audio", "a csv without a column of audio", absent, refused="no column that holds the audio"
    )
    array = _manifest("a.json", lambda rows: json.dumps(rows, indent=1).encode())
    yield Corpus("json-array", "a json of one array over many lines", array, refused="no row to read")
    for suffix in ("jsonl", "csv", "tsv"):
        empty = _manifest(f"a.{suffix}", lambda rows: b"")
        yield Corpus(f"{suffix}-empty", f"a {suffix} of 0 bytes", empty, refused="no row to read")
    twice = _manifest("a.jsonl", lambda rows: _lines([{**row, "id": "same"} for row in rows]).encode())
    yield Corpus("ids-twice", "rows with one id", twice)
    ids = _manifest(
        "a.jsonl", lambda rows: _lines([{**rows[0], "id": "a"}, {**rows[1], "id": "a-2"}]).encode()
    )
    yield Corpus("ids-suffixed", "ids that look like those given to repeated ones", ids)


def _places() -> Iterator[Corpus]:
    def loop(folder: Path) -> Path:
        _manifest("metadata.jsonl", lambda rows: _lines(rows).encode())(folder)
        (folder / "train").symlink_to(folder, target_is_directory=True)
        (folder / "loop").symlink_to("loop")
        return folder

    def fifo(folder: Path) -> Path:
        os.mkfifo(folder / "a.jsonl")
        return folder / "a.jsonl"

    def fifo_inside(folder: Path) -> Path:
        os.mkfifo(folder / "metadata.jsonl")
        return folder

    def folder_as_file(folder: Path) -> Path:
        (folder / "a.jsonl").mkdir()
        return folder / "a.jsonl"

    def broken_link(folder: Path) -> Path:
        (folder / "a.jsonl").symlink_to("nowhere.jsonl")
        return folder / "a.jsonl"

    def looped_link(folder: Path) -> Path:
        (folder / "a.jsonl").symlink_to("a.jsonl")
        return folder / "a.jsonl"

    def device(folder: Path) -> Path:
        (folder / "a.csv").symlink_to("/dev/zero")
        return folder / "a.csv"

    yield Corpus("folder-loops", "a folder with links to itself", loop)
    yield Corpus("manifest-fifo", "a manifest that is a named pipe", fifo, refused="no known kind")
    yield Corpus(
        "metadata-fifo", "a metadata.jsonl that is a named pipe", fifo_inside, refused="no known kind"
    )
    yield Corpus("manifest-folder", "an empty folder named like a manifest", folder_as_file, refused="empty")
    yield Corpus(
        "manifest-broken-link", "a manifest that is a link to nothing", broken_link, refused="missing"
    )
    yield Corpus(
        "manifest-looped-link", "a manifest that is a link to itself", looped_link, refused="missing"
    )
    yield Corpus(
        "manifest-endless", "a manifest that is a link to /dev/zero", device, refused="no known kind"
    )
    yield Corpus(
        "source-nul", "a source with a NUL in its path", lambda folder: folder / "a\0b", refused="missing"
    )
    yield Corpus(
        "source-vast", "a source of 5000 characters", lambda folder: folder / ("x" * 5_000), refused="missing"
    )
