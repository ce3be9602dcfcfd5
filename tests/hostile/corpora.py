"""Manifests, folders, archives and shards that are damaged, lie, or reach where they should not."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.speech import Spoken, flac, good_rows, prompts, samples, write_good_recordings

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
    groups = (_encodings, _tables, _places, _openslr, _archives, _shards)
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


def _openslr() -> Iterator[Corpus]:
    def chapter(more: Callable[[Path], None]) -> Callable[[Path], Path]:
        def build(folder: Path) -> Path:
            inner = folder / "train-clean-100" / "19" / "198"
            inner.mkdir(parents=True)
            lines = []
            for number in (1, 2):
                (inner / f"19-198-{number:04}.flac").write_bytes(flac(number))
                lines.append(f"19-198-{number:04} {prompts()[number][0]}\n")
            (inner / "19-198.trans.txt").write_text("".join(lines), encoding="utf-8")
            more(inner)
            return folder

        return build

    def append(content: bytes) -> Callable[[Path], None]:
        def more(inner: Path) -> None:
            with (inner / "19-198.trans.txt").open("ab") as file:
                file.write(content)

        return more

    def pipe(inner: Path) -> None:
        os.mkfifo(inner / "20-200.trans.txt")

    def links(inner: Path) -> None:
        (inner.parent / "loop").symlink_to(inner.parent)
        (inner / "19-198-9999.flac").symlink_to("19-198-9999.flac")

    traversal = chapter(append(b"../../../../../../etc/passwd WORDS\n19-198-0003 MISSING\n"))
    yield Corpus(
        "openslr-outside",
        "a transcript with ../../etc/passwd as its id",
        traversal,
        skipped={"path-outside": 1, "missing": 1},
    )
    latin = chapter(append("19-198-0004 ÉTÉ\n".encode("latin-1")))
    yield Corpus("openslr-latin-1", "a transcript with a line in latin-1", latin, kept=(), refused="no UTF-8")
    yield Corpus("openslr-fifo", "a chapter with a transcript that is a named pipe", chapter(pipe))
    yield Corpus("openslr-loops", "a chapter with links to itself", chapter(links), skipped={"empty-text": 1})
    extra = chapter(lambda inner: (inner / "19-198-0007.flac").write_bytes(flac()) and None)
    yield Corpus(
        "openslr-no-text", "a recording without a line in the transcript", extra, skipped={"empty-text": 1}
    )


def _tar_of(members: Callable[[tarfile.TarFile], None], compression: str = "gz") -> bytes:
    stream = io.BytesIO()
    level: Any = {"compresslevel": 1} if compression else {}
    with tarfile.open(fileobj=stream, mode=f"w:{compression}", **level) as tar:
        add(tar, "LibriSpeech/dev-clean/19/198/19-198.trans.txt", _transcript())
        for number in (1, 2):
            add(tar, f"LibriSpeech/dev-clean/19/198/19-198-{number:04}.flac", flac(number))
        members(tar)
    return stream.getvalue()


def _transcript() -> bytes:
    return "".join(f"19-198-{number:04} {prompts()[number][0]}\n" for number in (1, 2)).encode()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to an archive."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _special(tar: tarfile.TarFile, name: str, kind: bytes, target: str = "") -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    tar.addfile(entry)


def _archives() -> Iterator[Corpus]:
    def archive(content: Callable[[], bytes], name: str = "dev-clean.tar.gz") -> Callable[[Path], Path]:
        def build(folder: Path) -> Path:
            (folder / name).write_bytes(content())
            return folder / name

        return build

    chapter = "LibriSpeech/dev-clean/19/198"

    def outside(tar: tarfile.TarFile) -> None:
        add(tar, "../../../../../../tmp/hostile/19/198/19-198-0008.flac", flac())
        add(tar, "/etc/hostile/19/198/19-198-0009.flac", flac())

    def specials(tar: tarfile.TarFile) -> None:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            _special(tar, f"{chapter}/19-198-0010.flac", kind, "/etc/passwd")
        for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            _special(tar, f"{chapter}/19-198-0011.flac", kind)

    def bomb(tar: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo(f"{chapter}/19-198-0012.flac")
        entry.size = 600 << 20
        tar.addfile(entry, _Zeros())

    def pax_bomb(tar: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo("././@PaxHeader")
        entry.type, entry.size = tarfile.XHDTYPE, 600 << 20
        tar.addfile(entry, _Zeros())

    def twice(tar: tarfile.TarFile) -> None:
        add(tar, f"{chapter}/19-198-0001.flac", flac(1))

    left = {"empty-text": 2}
    yield Corpus(
        "tar-outside", "a tar with ../ and absolute names", archive(lambda: _tar_of(outside)), skipped=left
    )
    yield Corpus("tar-specials", "a tar with links, devices and pipes", archive(lambda: _tar_of(specials)))
    yield Corpus(
        "tar-bomb",
        "a tar.gz with a member of 600 MB of zeros",
        archive(lambda: _tar_of(bomb)),
        kept=(),
        refused="bytes",
    )
    yield Corpus(
        "tar-header-bomb",
        "a tar.gz whose header is 600 MB of zeros",
        archive(lambda: _tar_of(pax_bomb)),
        kept=(),
        refused="cannot be read",
    )
    half = archive(lambda: (whole := _tar_of(lambda tar: None))[: len(whole) // 2])
    yield Corpus(
        "tar-gz-half", "a tar.gz cut in the middle", half, kept=(), refused="cannot be read to its end"
    )
    half = archive(lambda: (whole := _tar_of(lambda tar: None, ""))[: len(whole) // 2], "dev-clean.tar")
    yield Corpus("tar-half", "a tar cut in the middle", half, kept=(), refused="cannot be read to its end")
    crc = archive(lambda: (whole := _tar_of(lambda tar: None))[:-8] + bytes(4) + whole[-4:])
    yield Corpus(
        "tar-gz-crc", "a tar.gz whose checksum is wrong", crc, kept=(), refused="cannot be read to its end"
    )
    not_tar = archive(lambda: gzip.compress(b"no tar" * 1_000))
    yield Corpus(
        "gz-no-tar", "a gzip that holds no tar", not_tar, kept=(), refused="cannot be read|not laid out"
    )
    yield Corpus(
        "tar-empty",
        "a tar of 0 bytes",
        archive(lambda: b"", "a.tar"),
        kept=(),
        refused="cannot be read|not laid out",
    )
    yield Corpus(
        "tar-twice", "a tar with a member twice", archive(lambda: _tar_of(twice)), skipped={"empty-text": 1}
    )


class _Zeros(io.RawIOBase):
    """A file without end, of zeros."""

    def read(self, size: int = -1) -> bytes:
        return bytes(size)


def _shards() -> Iterator[Corpus]:
    def shard(change: Callable[[list[dict[str, Any]]], Any], cut: float = 1.0) -> Callable[[Path], Path]:
        def build(folder: Path) -> Path:
            rows = [
                {"audio": {"bytes": flac(number), "path": f"{number}.flac"}, "text": prompts()[number][0]}
                for number in (1, 2)
            ]
            change(rows)
            file = folder / "train-00000-of-00001.parquet"
            pq.write_table(pa.Table.from_pylist(rows), file)
            whole = file.read_bytes()
            file.write_bytes(whole[: int(len(whole) * cut)])
            return folder

        return build

    def row(audio: Any, text: Any = "Words.") -> Callable[[list[dict[str, Any]]], Any]:
        return lambda rows: rows.append({"audio": audio, "text": text})

    nothing = {"bytes": None, "path": None}
    yield Corpus(
        "parquet-cut",
        "a parquet cut in the middle",
        shard(lambda rows: None, 0.5),
        kept=(),
        refused="cannot be read",
    )
    yield Corpus(
        "parquet-empty",
        "a parquet of 0 bytes",
        shard(lambda rows: None, 0),
        kept=(),
        refused="cannot be read",
    )
    yield Corpus("parquet-null", "a parquet row without audio", shard(row(None)), skipped={"empty": 1})
    yield Corpus(
        "parquet-nulls",
        "a parquet row with neither bytes nor path",
        shard(row(nothing)),
        skipped={"empty": 1},
    )
    secret = {"bytes": None, "path": "../../../../etc/passwd"}
    yield Corpus(
        "parquet-outside",
        "a parquet row with a path out of its folder",
        shard(row(secret)),
        skipped={"path-outside": 1},
    )
    etc = {"bytes": None, "path": "/etc/passwd"}
    yield Corpus(
        "parquet-absolute", "a parquet row with an absolute path", shard(row(etc)), skipped={"unreadable": 1}
    )
    no_text = shard(row({"bytes": flac(), "path": None}, None))
    yield Corpus(
        "parquet-no-text", "a parquet row with null for its text", no_text, skipped={"empty-text": 1}
    )
    empty = shard(row({"bytes": b"", "path": None}))
    yield Corpus("parquet-0-bytes", "a parquet row with a recording of 0 bytes", empty, skipped={"empty": 1})

    def numbers(folder: Path) -> Path:
        pq.write_table(pa.table({"audio": [1, 2], "text": ["a", "b"]}), folder / "train.parquet")
        return folder

    yield Corpus(
        "parquet-numbers",
        "a parquet with numbers for audio",
        numbers,
        kept=(),
        refused="recording of type int",
    )

    def noise_inside(folder: Path) -> Path:
        shard(lambda rows: None)(folder)
        (folder / "test-0.parquet").mkdir()
        shutil.copy(folder / "train-00000-of-00001.parquet", folder / "test-0.parquet" / "train-1.parquet")
        return folder

    yield Corpus("parquet-folder", "a folder that is named like a shard", noise_inside, kept=(0, 1, 0, 1))
