"""From a row with columns to an utterance, whatever the file it came from."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_peft.errors import DataError, did_you_mean
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance

logger = logging.getLogger(__name__)

_KNOWN = {
    "audio": ("audio", "file_name", "audio_filepath", "audio_path", "path", "file", "filename", "wav"),
    "text": ("text", "sentence", "transcript", "transcription", "transcripts"),
    "language": ("language", "lang", "locale"),
    "speaker": ("speaker_id", "speaker", "client_id"),
    "id": ("id", "utterance_id", "utt_id"),
    "split": ("split",),
}
"""Names that public corpora give to the columns, the first one present wins."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns that hold each part of an utterance; None where there is none."""

    audio: str
    text: str
    language: str | None = None
    speaker: str | None = None
    id: str | None = None
    split: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that is read."""
        every = (self.audio, self.text, self.language, self.speaker, self.id, self.split)
        return tuple(name for name in every if name is not None)


def find_columns(names: Collection[str], section: DataSection, *, source: str) -> Columns:
    """Find the columns to read among those there are.

    A column that the recipe names must be there. Where one of the default name is absent, the first name that
    public corpora use for the same thing is taken, and a line says so.

    Raises:
        DataError: If there is no column for the audio or the text.

    Example:
        >>> find_columns(["path", "sentence"], DataSection(), source="a.tsv")
        Columns(audio='path', text='sentence', language=None, speaker=None, id=None, split=None)
    """
    found = {part: _find_column(part, names, section, source) for part in _KNOWN}
    for part in ("audio", "text"):
        if found[part] is None:
            why = f"none of {', '.join(_KNOWN[part])} is in it"
            todo = f"give data.{part}_column. Known: {', '.join(sorted(names)) or 'none'}"
            raise DataError(f"{source} has no column that holds the {part}", why, todo)
        if found[part] != getattr(section, f"{part}_column"):
            logger.info("%s: the %s is in column %r", source, part, found[part])
    return Columns(**found)  # type: ignore[arg-type]


def _find_column(part: str, names: Collection[str], section: DataSection, source: str) -> str | None:
    field = f"{part}_column"
    given = getattr(section, field) if field in DataSection.model_fields else None
    if given in names:
        return str(given)
    if given is not None and given != DataSection.model_fields[field].default:
        raise DataError(
            f"data.{field} is {given!r}", f"{source} has no such column", did_you_mean(given, names)
        )
    return next((name for name in _KNOWN[part] if name in names), None)


def to_utterance(
    row: Mapping[str, Any], columns: Columns, *, fallback_id: str, folder: Path | None = None
) -> Utterance:
    """Build an utterance from a row. Relative paths are of `folder`; a row without audio gets no bytes.

    Example:
        >>> to_utterance({"file": "a/b.flac", "text": "hi"}, Columns("file", "text"), fallback_id="1").id
        '1'
    """
    audio, sampling_rate = _audio(row.get(columns.audio), folder)
    return Utterance(
        id=_string(row, columns.id) or fallback_id,
        audio=audio,
        text=_string(row, columns.text) or "",
        sampling_rate=sampling_rate,
        language=_string(row, columns.language),
        speaker_id=_string(row, columns.speaker),
    )


def leaves_folder(path: str) -> bool:
    """Tell whether a relative path climbs out of the folder it is relative to.

    Example:
        >>> leaves_folder("../secret.wav"), leaves_folder("a/../b.wav"), leaves_folder("/data/a.wav")
        (True, False, False)
    """
    return Path(os.path.normpath(path)).parts[:1] == (os.pardir,)


def _string(row: Mapping[str, Any], column: str | None) -> str | None:
    """Return a cell as text; None for an empty one, NaN (an empty cell of pandas), or what is no text."""
    value = row.get(column) if column is not None else None
    if not isinstance(value, str | int | float) or value != value:
        return None
    encodable = str(value).encode("utf-8", "replace")  # JSON can hold half a character
    return encodable.decode("utf-8").strip() or None


def _audio(value: Any, folder: Path | None) -> tuple[Path | bytes | NDArray[Any], int | None]:
    """Return the recording of a cell and, for samples, their rate."""
    if isinstance(value, Mapping):
        if value.get("array") is not None:
            return np.asarray(value["array"]), value.get("sampling_rate")
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str | Path):
        return (folder or Path()) / value if str(value) else b"", None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), None
    if isinstance(value, np.ndarray | list):
        return np.asarray(value), None
    if value is None:
        return b"", None
    todo = "give a path, bytes, an array with its rate, or cast the column to datasets.Audio(decode=False)"
    raise DataError(f"a recording of type {type(value).__name__}", "there is no way to decode it", todo)
