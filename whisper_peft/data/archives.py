"""LibriSpeech as OpenSLR ships it: `.tar` and `.tar.gz` archives, read from end to end and never unpacked.

The transcripts of a chapter may come before or after its recordings; what waits for them is held in memory,
which is one chapter in any archive that was packed folder by folder.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from whisper_peft.data.openslr import read_transcripts
from whisper_peft.errors import DataError
from whisper_peft.types import Utterance

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz")

_PENDING_BYTES = 512 << 20
"""Most bytes of recordings that wait for their transcripts. A chapter of LibriSpeech is about 10 MB."""


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
        self.skipped.clear()
        for archive in self.archives:
            yield from self._match(archive)

    def _match(self, archive: Path) -> Iterator[Utterance]:
        """Bring recordings and transcripts together, whichever comes first."""
        texts: dict[str, str] = {}
        waiting: dict[str, tuple[PurePosixPath, bytes]] = {}
        for name, content in _members(archive, self.split):
            if name.suffix == ".txt":
                texts |= read_transcripts(content, source=f"{archive}: {name}")
                for key in sorted(waiting.keys() & texts.keys()):
                    yield _utterance(*waiting.pop(key), texts.pop(key))
            elif name.stem in texts:
                yield _utterance(name, content, texts.pop(name.stem))
            else:
                waiting[name.stem] = (name, content)
                _check_waiting(archive, waiting)
        for recording in waiting.values():
            yield _utterance(*recording, "")
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
    return tuple(file for file in files if file.name.endswith(ARCHIVE_SUFFIXES))


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
    for _, _, name in _entries(archive):
        split = _split_of(name)
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


def _members(archive: Path, split: str | None) -> Iterator[tuple[PurePosixPath, bytes]]:
    for tar, entry, name in _entries(archive):
        if split is None or _split_of(name) in (split, None):
            if entry.size > _PENDING_BYTES:
                raise DataError(
                    f"{archive}: {name} has {entry.size} bytes", "that is no utterance", "leave it out"
                )
            content = tar.extractfile(entry)
            yield name, content.read() if content is not None else b""


def _entries(archive: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo, PurePosixPath]]:
    """Yield the recordings and transcripts of an archive, forgetting each before the next."""
    try:
        with _opened(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            while (entry := tar.next()) is not None:
                # tarfile keeps every header, which would grow with the archive.
                tar.members.clear()  # type: ignore[attr-defined]
                name = PurePosixPath(entry.name)
                if entry.isfile() and len(name.parts) > 2 and entry.name.endswith((".flac", ".trans.txt")):
                    yield tar, entry, name
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


def _utterance(name: PurePosixPath, content: bytes, text: str) -> Utterance:
    return Utterance(name.stem, content, text, speaker_id=name.parts[-3])


def _check_waiting(archive: Path, waiting: dict[str, tuple[PurePosixPath, bytes]]) -> None:
    waiting_bytes = sum(len(content) for _, content in waiting.values())
    if waiting_bytes > _PENDING_BYTES:
        why = f"{len(waiting)} recordings ({waiting_bytes >> 20} MB) lie before their transcripts"
        raise DataError(f"{archive} cannot be streamed", why, "unpack it and give the folder")
