"""Recordings with their text beside them: `a.wav` and `a.txt`, at any depth.

The folders at the top are splits where they are named so (`train`, `test`). Lines of a text are joined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from whisper_peft.data.effects.recordings import is_recording
from whisper_peft.data.sources.local_corpora import LocalCorpus, Reader, files_below
from whisper_peft.data.splits import is_for_scoring, is_for_training
from whisper_peft.types import Utterance


def has_texts_beside(folder: Path) -> bool:
    """Tell whether there is a recording with a text of the same name beside it.

    Example:
        >>> has_texts_beside(Path("no-such-folder"))
        False
    """
    return any(
        not {file.stem for file in files if is_recording(file)}.isdisjoint(_texts(files))
        for files in files_below(folder)
    )


def open_side_by_side(folder: Path, *, name: str) -> LocalCorpus:
    """Find the splits of a folder."""
    splits = split_places(folder)
    readers: dict[str, tuple[Reader, ...]] = {
        split: (partial(_read, place, folder),) for split, place in splits.items()
    }
    return LocalCorpus(name, readers, every=(partial(_read, folder, folder),))


def split_places(folder: Path) -> dict[str, Path]:
    """Return the folders in a folder that are named like splits."""
    inner = sorted(child for child in folder.iterdir() if child.is_dir())
    return {child.name: child for child in inner if is_for_training(child.name) or is_for_scoring(child.name)}


def _texts(files: list[Path]) -> dict[str, Path]:
    return {file.stem: file for file in files if file.suffix.lower() == ".txt" and file.is_file()}


def _read(place: Path, root: Path, skipped: Counter[str]) -> Iterator[Utterance]:
    """Yield the recordings below a place; a text without a recording is counted as `missing`."""
    for files in files_below(place):
        texts = _texts(files)
        recordings = [file for file in files if is_recording(file)]
        skipped.update({"missing": silent} if (silent := len(texts.keys() - _stems(recordings))) else {})
        for recording in recordings:
            try:
                text = _text(texts.get(recording.stem))
            except UnicodeDecodeError:
                skipped["not-utf8"] += 1
            except OSError:
                skipped["unreadable-text"] += 1
            else:
                yield Utterance(str(recording.relative_to(root).with_suffix("")), recording, text)


def _stems(files: list[Path]) -> set[str]:
    return {file.stem for file in files}


def _text(file: Path | None) -> str:
    return " ".join(file.read_text(encoding="utf-8-sig").split()) if file is not None else ""
