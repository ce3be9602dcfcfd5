"""LibriSpeech as OpenSLR ships it: `.tar` and `.tar.gz` archives, read from end to end and never unpacked.

The transcripts of a chapter may come before or after its recordings; what waits for them is held in memory,
which is one chapter in any archive that was packed folder by folder.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Self

from whisper_peft.data.sources.openslr import read_transcripts
from whisper_peft.data.sources.skipping import Keeps, PassedOver, keep_all
from whisper_peft.errors import DataError
from whisper_peft.types import Utterance

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz")

_PENDING_BYTES = 512 << 20
"""Most bytes of recordings that wait for their transcripts. A chapter of LibriSpeech is about 10 MB."""


_CONTINUED = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}
_MOST_HEADER_BYTES = 1 << 20
"""A name takes at most a few thousand."""


@dataclass(frozen=True)
class ArchiveRows:
    """The utterances of archives, in the order they lie there; of one split, or all of them.

    Their ids are those of the corpus, which are unique in LibriSpeech; nothing checks it in a stream.
    """

    archives: tuple[Path, ...]
    split: str | None = None
    is_stream: bool = True
    count: int | None = None
    skipped: Counter[str] = field(default_factory=Counter, compare=False)

    def __iter__(self) -> Iterator[Utterance]:
        return self._all(keep_all)

    def after(self, count: int, keeps: Keeps) -> Iterator[Utterance]:
        """Yield the rows that `keeps` wants, without the first `count`.

        Their recordings are leapt over; a compressed archive is read again all the same.
        """
        passed = PassedOver(count, self.archives[0].name)
        return self._all(lambda row: keeps(row) and passed.is_past())

    def _all(self, wanted: Keeps) -> Iterator[Utterance]:
        self.skipped.clear()
        for archive in self.archives:
            yield from self._match(archive, wanted)

    def _match(self, archive: Path, wanted: Keeps) -> Iterator[Utterance]:
        """Bring recordings and transcripts together, whichever comes first; only what is wanted is read."""
        texts: dict[str, str] = {}
        waiting: dict[str, _Member] = {}
        for member in _members(archive, self.split):
            name = member.name
            if name.suffix == ".txt":
                texts |= read_transcripts(member.read(), source=f"{archive}: {name}")
                ready = [(waiting.pop(key), texts.pop(key)) for key in sorted(waiting.keys() & texts.keys())]
            elif name.stem in texts:
                ready = [(member, texts.pop(name.stem))]
            else:
                waiting[name.stem] = member.held()
                _check_waiting(archive, waiting)
                continue
            yield from _utterances(ready, wanted)
        yield from _utterances([(member, "") for member in waiting.values()], wanted)
        self.skipped.update({"missing": len(texts)} if texts else {})


@dataclass(frozen=True)
class ArchiveCorpus:
    """OpenSLR archives and the splits that lie in each."""

    name: str
    archives: dict[Path, tuple[str, ...]]
    config: str = ""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(sorted({split for splits in self.archives.values() for split in splits}))

    def select(self, split: str | None) -> ArchiveRows:
        """Return the rows of a split, or all of them."""
        holding = (archive for archive, splits in self.archives.items() if split is None or split in splits)
        return ArchiveRows(tuple(holding), split)


def archives_in(path: Path) -> tuple[Path, ...]:
    """Return the archive that a path is, or those that lie in the folder that it is."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return tuple(file for file in files if file.name.endswith(ARCHIVE_SUFFIXES) and file.is_file())


def open_archives(archives: tuple[Path, ...], *, name: str) -> ArchiveCorpus:
    """Find the splits of OpenSLR archives.

    An archive named after the split that it begins with, as OpenSLR names them, is taken to hold that one
    only. Any other is read through once.

    Raises:
        DataError: If an archive is damaged, or is not laid out like LibriSpeech.
    """
    return ArchiveCorpus(name, {archive: _splits_in(archive) for archive in archives})


def _splits_in(archive: Path) -> tuple[str, ...]:
    splits: set[str] = set()
    is_openslr = False
    for member in _entries(archive):
        split = _split_of(member.name)
        is_openslr = True
        if split is not None and archive.name.removesuffix(".gz").removesuffix(".tar") == split:
            return (split,)
        splits.update([split] if split is not None else [])
    if not is_openslr:
        todo = "give an archive of openslr.org/12, or unpack it"
        raise DataError(
            f"{archive} holds no speaker/chapter/*.flac", "it is not laid out like LibriSpeech", todo
        )
    return tuple(sorted(splits))


@dataclass(frozen=True)
class _Member:
    """A file of an archive, read when it is wanted; from a compressed one that must be before the next.

    Attributes:
        archive: Where it lies.
        name: Its path in the archive.
        content: What it holds, where that waits in memory.
    """

    archive: Path
    name: PurePosixPath
    tar: tarfile.TarFile
    entry: tarfile.TarInfo
    in_passing: bool
    content: bytes | None = None

    def read(self) -> bytes:
        if self.content is not None:
            return self.content
        with _reading(self.archive):
            file = self.tar.extractfile(self.entry)
            return file.read() if file is not None else b""

    def held(self) -> _Member:
        """Return the file as it can be read later."""
        return replace(self, content=self.read()) if self.in_passing else self

    def utterance(self, text: str, content: bytes) -> Utterance:
        return Utterance(self.name.stem, content, text, speaker_id=self.name.parts[-3])


def _members(archive: Path, split: str | None) -> Iterator[_Member]:
    for member in _entries(archive):
        if split is None or _split_of(member.name) in (split, None):
            if member.entry.size > _PENDING_BYTES:
                raise DataError(
                    f"{archive}: {member.name} has {member.entry.size} bytes",
                    "that is no utterance",
                    "leave it out",
                )
            yield member


def _utterances(ready: Iterable[tuple[_Member, str]], wanted: Keeps) -> Iterator[Utterance]:
    for member, text in ready:
        if wanted(member.utterance(text, b"")):
            yield member.utterance(text, member.read())


def _entries(archive: Path) -> Iterator[_Member]:
    """Yield the recordings and transcripts of an archive, forgetting each before the next."""
    with _reading(archive), _opened(archive) as stream:
        in_passing = isinstance(stream, gzip.GzipFile)
        with tarfile.open(fileobj=stream, mode="r|" if in_passing else "r:", tarinfo=_Entry) as tar:
            while (entry := tar.next()) is not None:
                # tarfile keeps every header, which would grow with the archive.
                tar.members.clear()  # type: ignore[attr-defined]
                name = PurePosixPath(entry.name)
                is_named = len(name.parts) > 2 and entry.name.endswith((".flac", ".trans.txt"))
                if entry.isfile() and is_named:
                    yield _Member(archive, name, tar, entry, in_passing)
        while in_passing and stream.read(1 << 20):
            pass  # gzip compares the checksum at its end


class _Entry(tarfile.TarInfo):
    """A header of an archive. tarfile takes one that is continued in a block of its own into memory whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        entry = super().frombuf(buf, encoding, errors)
        if entry.type in _CONTINUED and entry.size > _MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {entry.size} bytes")
        return entry


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{archive} cannot be read to its end", str(error), "download it again") from error


@contextmanager
def _opened(archive: Path) -> Iterator[BinaryIO | gzip.GzipFile]:
    """Open an archive for reading; unlike tarfile's own, gzip's reader says when the end is missing."""
    with archive.open("rb") as stream:
        is_gzip = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        if is_gzip:
            with gzip.GzipFile(fileobj=stream) as content:
                yield content
        else:
            yield stream


def _split_of(name: PurePosixPath) -> str | None:
    return name.parts[-4] if len(name.parts) > 3 else None


def _check_waiting(archive: Path, waiting: dict[str, _Member]) -> None:
    waiting_bytes = sum(len(member.content or b"") for member in waiting.values())
    if waiting_bytes > _PENDING_BYTES:
        why = f"{len(waiting)} recordings ({waiting_bytes >> 20} MB) lie before their transcripts"
        raise DataError(f"{archive} cannot be streamed", why, "unpack it and give the folder")
