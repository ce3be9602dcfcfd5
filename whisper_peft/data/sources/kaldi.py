"""Kaldi's data folders: `wav.scp` and `text`; where they are there, `segments`, `utt2spk` and `utt2lang`.

A `wav.scp` may hold commands (`sph2pipe ... |`) and places in archives (`wavs.ark:1234`) beside paths.
Nothing is ever run: such recordings are counted as `pipe` and `archive`. A relative path is one of the data
folder, or of one or two folders above it, where Kaldi's recipes run. Of lines with one id the first counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from whisper_peft.data.sources.local_corpora import LocalCorpus, keyed_lines, leaves_folder
from whisper_peft.errors import DataError
from whisper_peft.types import Utterance


def data_folders(path: Path) -> dict[str, Path]:
    """Return the data folder that a path is, or those in it, by name.

    Example:
        >>> data_folders(Path("no-such-folder"))
        {}
    """
    folders = (
        [path]
        if (path / "wav.scp").is_file()
        else sorted(file.parent for file in path.glob("*/wav.scp") if file.is_file())
    )
    return {folder.name: folder for folder in folders}


def open_kaldi(folders: Mapping[str, Path], *, name: str) -> LocalCorpus:
    """Return the corpus of data folders, each a split.

    Args:
        folders: What `data_folders` found.
        name: Where the corpus lies.

    Raises:
        DataError: If one of them has no `text`.
    """
    for folder in folders.values():
        if not (folder / "text").is_file():
            why = "wav.scp names recordings, but nothing says what was spoken"
            raise DataError(
                f"{folder} has no file named text", why, "add it: an utterance's id and its words"
            )
    return LocalCorpus(name, {split: (DataFolder(folder),) for split, folder in folders.items()})


@dataclass(frozen=True)
class DataFolder:
    """A reader of one data folder, in the order of `segments`, or of `wav.scp` where that is not there."""

    folder: Path

    def __call__(self, skipped: Counter[str]) -> Iterator[Utterance]:
        """Yield the utterances; texts without a recording and recordings that cannot be read are counted."""
        texts = _first_of_each(keyed_lines(self.folder / "text"), skipped)
        speakers, languages = self._table("utt2spk"), self._table("utt2lang")
        heard: set[str] = set()
        for key, found in self._stretches(skipped):
            heard.add(key)
            if isinstance(found, str):
                skipped[found] += 1
                continue
            yield Utterance(
                key,
                found.recording,
                texts.get(key, ""),
                language=languages.get(key),
                speaker_id=speakers.get(key),
                start_s=found.start_s,
                end_s=found.end_s,
            )
        if silent := texts.keys() - heard:
            skipped["missing"] += len(silent)

    def _stretches(self, skipped: Counter[str]) -> Iterator[tuple[str, _Stretch | str]]:
        """Yield each utterance's id with its place, or with the reason why there is none."""
        recordings = self._recordings(skipped)
        if not (self.folder / "segments").is_file():
            for key, recording in recordings.items():
                yield key, _Stretch(recording) if isinstance(recording, Path) else recording
            return
        for key, rest in keyed_lines(self.folder / "segments"):
            yield key, _place(rest.split(), recordings)

    def _recordings(self, skipped: Counter[str]) -> dict[str, Path | str]:
        """Return the recording of each id, or the reason why it cannot be read."""
        entries = _first_of_each(keyed_lines(self.folder / "wav.scp"), skipped)
        paths = (entry for entry in entries.values() if _unread(entry) is None and not entry.startswith("/"))
        base = _base(self.folder, next(paths, ""))
        return {key: _unread(entry) or base / entry for key, entry in entries.items()}

    def _table(self, name: str) -> dict[str, str]:
        file = self.folder / name
        return dict(keyed_lines(file)) if file.is_file() else {}


def _first_of_each(lines: Iterable[tuple[str, str]], skipped: Counter[str]) -> dict[str, str]:
    table: dict[str, str] = {}
    for key, rest in lines:
        if table.setdefault(key, rest) != rest:
            skipped["repeated-id"] += 1
    return table


@dataclass(frozen=True, slots=True)
class _Stretch:
    recording: Path
    start_s: float = 0.0
    end_s: float | None = None


def _place(cells: list[str], recordings: Mapping[str, Path | str]) -> _Stretch | str:
    """Return the stretch of a line of `segments`: recording, start and end; -1 stands for the end."""
    if len(cells) == 4:
        return "channel"  # one of several in the recording, which would be mixed down
    if len(cells) != 3:
        return "malformed-row"
    recording = recordings.get(cells[0], "missing")
    try:
        start_s, end_s = float(cells[1]), float(cells[2])
    except ValueError:
        return "bad-times"
    if isinstance(recording, str):
        return recording
    return _Stretch(recording, start_s, None if end_s == -1 else end_s)


def _unread(entry: str) -> str | None:
    """Return the reason why an entry of `wav.scp` is not read, None for a path."""
    if entry.endswith("|"):
        return "pipe"
    if re.search(r"\.ark:\d+$", entry):
        return "archive"
    if not entry:
        return "malformed-row"
    return "path-outside" if leaves_folder(entry) else None


def _base(folder: Path, path: str) -> Path:
    """Return the folder that relative paths are of: the first one in which there is such a file."""
    places = (folder, folder.absolute().parent, folder.absolute().parent.parent)
    with suppress(OSError):  # a name that no file can have
        return next((place for place in places if (place / path).is_file()), folder)
    return folder
