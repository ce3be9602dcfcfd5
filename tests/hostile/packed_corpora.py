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

CHAPTER = "LibriSpeech/dev-clean/19/198"
"""Where the recordings lie in an archive."""


def packed_corpora() -> tuple[Corpus, ...]:
    """Return all of them."""
    groups = (_openslr, _archive_members, _archives, _shards, _shard_rows, _odd_shards)
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
        add(tar, f"{CHAPTER}/19-198.trans.txt", _transcript())
        for number in (1, 2):
            add(tar, f"{CHAPTER}/19-198-{number:04}.flac", flac(number))
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


def _archive(content: Callable[[], bytes], name: str = "dev-clean.tar.gz") -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / name).write_bytes(content())
        return folder / name

    return build


def _archive_members() -> Iterator[Corpus]:
    def outside(tar: tarfile.TarFile) -> None:
        add(tar, "../../../../../../tmp/hostile/19/198/19-198-0008.flac", flac())
        add(tar, "/etc/hostile/19/198/19-198-0009.flac", flac())

    def specials(tar: tarfile.TarFile) -> None:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            _special(tar, f"{CHAPTER}/19-198-0010.flac", kind, "/etc/passwd")
        for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            _special(tar, f"{CHAPTER}/19-198-0011.flac", kind)

    def bomb(tar: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo(f"{CHAPTER}/19-198-0012.flac")
        entry.size = 600 << 20
        tar.addfile(entry, _Zeros())

    def header_bomb(tar: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo("././@PaxHeader")
        entry.type, entry.size = tarfile.XHDTYPE, 600 << 20
        tar.addfile(entry, _Zeros())

    out = _archive(lambda: _tar_of(outside))
    yield Corpus("tar-outside", "a tar with ../ and absolute names", out, skipped={"empty-text": 2})
    yield Corpus("tar-specials", "a tar with links, devices and pipes", _archive(lambda: _tar_of(specials)))
    zeros = _archive(lambda: _tar_of(bomb))
    yield Corpus("tar-bomb", "a tar.gz with a member of 600 MB of zeros", zeros, kept=(), refused="bytes")
    zeros = _archive(lambda: _tar_of(header_bomb))
    what = "a tar.gz whose header is 600 MB of zeros"
    yield Corpus("tar-header-bomb", what, zeros, kept=(), refused="cannot be read")


class _Zeros(io.RawIOBase):
    """A file without end, of zeros."""

    def read(self, size: int = -1) -> bytes:
        return bytes(size)


def _archives() -> Iterator[Corpus]:
    def whole(compression: str = "gz") -> bytes:
        return _tar_of(lambda tar: None, compression)

    def half(archive: bytes) -> bytes:
        return archive[: len(archive) // 2]

    def wrong_crc(archive: bytes) -> bytes:
        return archive[:-8] + bytes(4) + archive[-4:]

    def twice(tar: tarfile.TarFile) -> None:
        add(tar, f"{CHAPTER}/19-198-0001.flac", flac(1))

    def broken(name: str, what: str, archive: Callable[[Path], Path]) -> Corpus:
        return Corpus(name, what, archive, kept=(), refused="cannot be read to its end")

    def no_tar(name: str, what: str, archive: Callable[[Path], Path]) -> Corpus:
        return Corpus(name, what, archive, kept=(), refused="cannot be read|not laid out")

    yield broken("tar-gz-half", "a tar.gz cut in the middle", _archive(lambda: half(whole())))
    yield broken("tar-half", "a tar cut in the middle", _archive(lambda: half(whole("")), "dev-clean.tar"))
    yield broken("tar-gz-crc", "a tar.gz whose checksum is wrong", _archive(lambda: wrong_crc(whole())))
    words = _archive(lambda: gzip.compress(b"no tar" * 1_000))
    yield no_tar("gz-no-tar", "a gzip that holds no tar", words)
    yield no_tar("tar-empty", "a tar of 0 bytes", _archive(lambda: b"", "a.tar"))
    again = _archive(lambda: _tar_of(twice))
    yield Corpus("tar-twice", "a tar with a member twice", again, skipped={"empty-text": 1})


def _write_shard(folder: Path, *more: dict[str, Any]) -> Path:
    """Write the good rows and more into a shard."""
    good = [
        {"audio": {"bytes": flac(number), "path": f"{number}.flac"}, "text": prompts()[number][0]}
        for number in (1, 2)
    ]
    file = folder / "train-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist([*good, *more]), file)
    return file


def _shards() -> Iterator[Corpus]:
    def part(share: float) -> Callable[[Path], Path]:
        def build(folder: Path) -> Path:
            file = _write_shard(folder)
            whole = file.read_bytes()
            file.write_bytes(whole[: int(len(whole) * share)])
            return folder

        return build

    def broken(name: str, what: str, share: float) -> Corpus:
        return Corpus(name, what, part(share), kept=(), refused="cannot be read")

    yield broken("parquet-cut", "a parquet cut in the middle", 0.5)
    yield broken("parquet-empty", "a parquet of 0 bytes", 0)


def _shard_rows() -> Iterator[Corpus]:
    def row(name: str, what: str, audio: Any, reason: str, text: str | None = "Words.") -> Corpus:
        def build(folder: Path) -> Path:
            _write_shard(folder, {"audio": audio, "text": text})
            return folder

        return Corpus(name, f"a parquet row {what}", build, skipped={reason: 1})

    def audio(content: bytes | None, path: str | None = None) -> dict[str, Any]:
        return {"bytes": content, "path": path}

    secret = audio(None, "../../../../etc/passwd")
    yield row("parquet-null", "without audio", None, "empty")
    yield row("parquet-nulls", "with neither bytes nor path", audio(None), "empty")
    yield row("parquet-outside", "with a path out of its folder", secret, "path-outside")
    yield row("parquet-absolute", "with an absolute path", audio(None, "/etc/passwd"), "unreadable")
    yield row("parquet-no-text", "with null for its text", audio(flac()), "empty-text", None)
    yield row("parquet-0-bytes", "with a recording of 0 bytes", audio(b""), "empty")


def _odd_shards() -> Iterator[Corpus]:
    def numbers(folder: Path) -> Path:
        pq.write_table(pa.table({"audio": [1, 2], "text": ["a", "b"]}), folder / "train.parquet")
        return folder

    def folder_like_a_shard(folder: Path) -> Path:
        file = _write_shard(folder)
        (folder / "test-0.parquet").mkdir()
        shutil.copy(file, folder / "test-0.parquet" / "train-1.parquet")
        return folder

    what = "a parquet with numbers for audio"
    yield Corpus("parquet-numbers", what, numbers, kept=(), refused="recording of type int")
    what = "a folder that is named like a shard"
    yield Corpus("parquet-folder", what, folder_like_a_shard, kept=(0, 1, 0, 1))
