"""LibriSpeech unpacked and packed, and shards, that are damaged, lie, or reach where they should not."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.corpora import Corpus
from tests.hostile.speech import flac, prompts


def packed_corpora() -> tuple[Corpus, ...]:
    """Return all of them."""
    groups = (_openslr, _archives, _shards)
    return tuple(corpus for group in groups for corpus in group())


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
