"""LibriSpeech as OpenSLR lays it out: `split/speaker/chapter/*.flac` with one `*.trans.txt` a chapter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from whisper_peft.data.sources.local_corpora import LocalCorpus
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


def open_split_folders(folders: dict[str, Path], *, name: str) -> LocalCorpus:
    """Return the corpus of unpacked splits.

    Args:
        folders: What `split_folders` found.
        name: Where the corpus lies.
    """
    return LocalCorpus(name, {split: (partial(_read, folder),) for split, folder in folders.items()})


def _read(folder: Path, skipped: Counter[str]) -> Iterator[Utterance]:
    """Yield the utterances of a split, sorted by path."""
    for chapter in sorted(path for path in folder.glob("*/*") if path.is_dir()):
        texts: dict[str, str] = {}
        for file in sorted(path for path in chapter.glob("*.trans.txt") if path.is_file()):
            texts.update(read_transcripts(file.read_bytes(), source=str(file)))
        texts |= {path.stem: "" for path in chapter.glob("*.flac") if path.stem not in texts}
        for name, text in sorted(texts.items()):
            if "/" in name:
                skipped["path-outside"] += 1
            else:
                yield Utterance(name, chapter / f"{name}.flac", text, speaker_id=chapter.parent.name)
