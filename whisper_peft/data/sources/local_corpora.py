"""Corpora that lie here as text and recordings: what they hold is read anew at each pass.

A corpus is a few readers, functions from a counter of what they leave out to utterances. So a source travels
to a worker process as a few paths, and its memory does not grow with its length.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from whisper_peft.errors import DataError
from whisper_peft.types import Utterance

Reader: TypeAlias = Callable[[Counter[str]], Iterator[Utterance]]
"""Yields undecoded utterances and counts the rows that it cannot offer, by reason. It can be pickled."""


@dataclass(frozen=True)
class LocalRows:
    """The rows of readers, one reader after the other."""

    readers: tuple[Reader, ...]
    is_stream: bool = False
    skipped: Counter[str] = field(default_factory=Counter, compare=False)

    @property
    def count(self) -> int:
        """Rows there are, counted by a pass over the text."""
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Utterance]:
        self.skipped.clear()
        for reader in self.readers:
            yield from reader(self.skipped)


@dataclass(frozen=True)
class LocalCorpus:
    """The readers of each split.

    Args:
        name: Where the corpus lies.
        readers: By the name of their split.
        every: The readers of all rows, each row once. None: those of every split, one after the other.
    """

    name: str
    readers: Mapping[str, tuple[Reader, ...]]
    every: tuple[Reader, ...] | None = None
    config: str = ""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.readers)

    def select(self, split: str | None) -> LocalRows:
        """Return the rows of a split, or all of them."""
        if split is not None:
            return LocalRows(self.readers[split])
        each = (reader for readers in self.readers.values() for reader in readers)
        return LocalRows(tuple(each) if self.every is None else self.every)


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Say in a sentence why a text file cannot be read.

    Raises:
        DataError: In place of what Python raises.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        why = f"byte {error.start} is no UTF-8"
        raise DataError(f"{file} cannot be read", why, "save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read", str(error.strerror), "check its permissions") from error


def text_lines(file: Path) -> Iterator[str]:
    """Yield the lines of a text that are not blank, without their ends.

    Raises:
        DataError: If it is not UTF-8, or cannot be opened.
    """
    with reading(file), file.open(encoding="utf-8-sig") as lines:
        yield from (line.rstrip("\n") for line in lines if line.strip())


def keyed_lines(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the first word of each line and what follows it, as Kaldi and LibriSpeech write tables.

    Example:
        >>> from tempfile import mkdtemp
        >>> file = Path(mkdtemp()) / "text"
        >>> _ = file.write_text("19-198-0000  NORTHANGER ABBEY")
        >>> list(keyed_lines(file))
        [('19-198-0000', 'NORTHANGER ABBEY')]
    """
    for line in text_lines(file):
        key, *rest = line.split(maxsplit=1)
        yield key, rest[0].strip() if rest else ""


def leaves_folder(path: str) -> bool:
    """Tell whether a relative path climbs out of the folder it is relative to.

    Example:
        >>> leaves_folder("../secret.wav"), leaves_folder("a/../b.wav"), leaves_folder("/data/a.wav")
        (True, False, False)
    """
    return Path(os.path.normpath(path)).parts[:1] == (os.pardir,)


def files_below(folder: Path) -> Iterator[list[Path]]:
    """Yield the files of a folder and of each folder in it, sorted; hidden ones and links to folders not.

    Example:
        >>> list(files_below(Path("no-such-folder")))
        []
    """
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield [Path(place) / name for name in sorted(names) if not name.startswith(".")]
