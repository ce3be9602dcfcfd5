"""LibriSpeech as OpenSLR lays it out: `split/speaker/chapter/*.flac` with one `*.trans.txt` a chapter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from whisper_peft.errors import DataError
from whisper_peft.types import Utterance


def split_folders(root: Path) -> dict[str, Path]:
    """Return the splits under a split's folder, the `LibriSpeech` folder or its parent.

    Example:
        >>> split_folders(Path("no-such-folder"))
        {}
    """
    if any(root.glob("*/*/*.trans.txt")):
        return {root.name: root}
    for base in (root, root / "LibriSpeech"):
        found = {
            child.parent.name: child.parent for child in sorted(base.glob("*/[!.]*")) if _has_chapters(child)
        }
        if found:
            return found
    return {}


def read_transcripts(content: bytes, *, source: str) -> dict[str, str]:
    """Read a chapter's transcripts: an utterance's id, a space, and what was said, one to a line.

    Raises:
        DataError: If they are not UTF-8.

    Example:
        >>> read_transcripts(b"19-198-0000 NORTHANGER ABBEY", source="19-198.trans.txt")
        {'19-198-0000': 'NORTHANGER ABBEY'}
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{source} cannot be read", f"byte {error.start} is no UTF-8", "save it as UTF-8"
        ) from error
    pairs = (line.strip().partition(" ") for line in lines if line.strip())
    return {name: text.strip() for name, _, text in pairs}


def _has_chapters(speaker: Path) -> bool:
    return any(speaker.glob("*/*.trans.txt"))


@dataclass(frozen=True)
class FolderRows:
    """The utterances of unpacked split folders, sorted by path."""

    folders: tuple[Path, ...]
    is_stream: bool = False
    skipped: Counter[str] = field(default_factory=Counter, compare=False)

    @property
    def count(self) -> int:
        """Rows there are, counted by a pass over the transcripts."""
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Utterance]:
        self.skipped.clear()
        for folder in self.folders:
            for chapter in sorted(path for path in folder.glob("*/*") if path.is_dir()):
                yield from self._chapter(chapter)

    def _chapter(self, chapter: Path) -> Iterator[Utterance]:
        texts: dict[str, str] = {}
        for file in sorted(chapter.glob("*.trans.txt")):
            texts.update(read_transcripts(file.read_bytes(), source=str(file)))
        texts |= {path.stem: "" for path in chapter.glob("*.flac") if path.stem not in texts}
        for name, text in sorted(texts.items()):
            if "/" in name:
                self.skipped["path-outside"] += 1
            else:
                yield Utterance(name, chapter / f"{name}.flac", text, speaker_id=chapter.parent.name)


@dataclass(frozen=True)
class FolderCorpus:
    """The unpacked splits of a corpus."""

    name: str
    folders: dict[str, Path]
    config: str = ""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.folders)

    def select(self, split: str | None) -> FolderRows:
        """Return the rows of a split, or all of them."""
        return FolderRows(tuple(self.folders.values()) if split is None else (self.folders[split],))
