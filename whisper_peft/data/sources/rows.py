"""From a row with columns to an utterance, whatever the file it came from.

A row may be a stretch of a longer recording: from `start` to `end` seconds, or NeMo's `offset` for `duration`
seconds. Its `segments` are timed from where the utterance begins. Why a row is no utterance is a short word
that reports count by:

| reason | meaning |
|---|---|
| `malformed-row` | it is no row: no JSON object, more or fewer cells than columns, no path |
| `not-utf8` | bytes of its text are no UTF-8, or half a character of JSON |
| `path-outside` | its recording lies outside the corpus |
| `bad-times` | start and end are no numbers, or the wrong way round |
| `bad-segments` | the segments are no list of start, end and text in order, or go on after the utterance |
| `bad-task` | the task is neither transcribe nor translate |
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from whisper_peft.data.sources.cells import recording_in, seconds_in, segments_in, text_in
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
    "task": ("task",),
    "segments": ("segments",),
    "previous_text": ("previous_text",),
}
"""Names that public corpora give to the columns, the first one present wins."""

_KNOWN_TIMES = {
    "start": ("start", "start_s", "offset"),
    "end": ("end", "end_s"),
    "duration": ("duration", "duration_s"),
}
"""Those that cut a stretch out of the recording that a row names. A row that holds its recording, as on the
Hub, has it cut already, and these columns say from where."""

NO_TEXT = "none"
"""In place of the name of the text's column: rows have no text yet."""

_SLACK_S = 0.5
"""By how much the last segment may outlast the utterance: times are rounded."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns that hold each part of an utterance; None where there is none."""

    audio: str
    text: str | None
    language: str | None = None
    speaker: str | None = None
    id: str | None = None
    split: str | None = None
    task: str | None = None
    segments: str | None = None
    previous_text: str | None = None
    start: str | None = None
    end: str | None = None
    duration: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that is read."""
        every = (getattr(self, part.name) for part in fields(self))
        return tuple(name for name in every if name is not None)


def find_columns(names: Collection[str], section: DataSection, *, source: str, cut: bool = False) -> Columns:
    """Find the columns to read among those there are.

    A column that the recipe names must be there. Where one of the default name is absent, the first name that
    public corpora use for the same thing is taken, and a line says so.

    Args:
        names: Names of the columns.
        section: The columns that the recipe names.
        source: Name of the file or data set, for messages.
        cut: Whether each row holds its recording, cut already, so that columns of times only say from where.

    Raises:
        DataError: If there is no column for the audio or the text.

    Example:
        >>> columns = find_columns(["path", "sentence", "offset", "duration"], DataSection(), source="a.tsv")
        >>> columns.audio, columns.text, columns.start, columns.duration
        ('path', 'sentence', 'offset', 'duration')
    """
    found = {part: _find_column(part, names, section, source) for part in _KNOWN}
    if not cut:
        found |= {part: _first_known(known, names) for part, known in _KNOWN_TIMES.items()}
    for part in ("audio", "text"):
        may_lack = part == "text" and (found["segments"] or section.text_column == NO_TEXT)
        if found[part] is None and not may_lack:
            why = f"none of {', '.join(_KNOWN[part])} is in it"
            todo = f"give data.{part}_column. Known: {', '.join(sorted(names)) or 'none'}"
            raise DataError(f"{source} has no column that holds the {part}", why, todo)
        if found[part] not in (None, getattr(section, f"{part}_column")):
            logger.info("%s: the %s is in column %r", source, part, found[part])
    return Columns(**found)  # type: ignore[arg-type]


def _find_column(part: str, names: Collection[str], section: DataSection, source: str) -> str | None:
    field = f"{part}_column"
    given = getattr(section, field) if field in DataSection.model_fields else None
    if part == "text" and given == NO_TEXT:
        return None
    if given in names:
        return str(given)
    if given is not None and given != DataSection.model_fields[field].default:
        raise DataError(
            f"data.{field} is {given!r}", f"{source} has no such column", did_you_mean(given, names)
        )
    return _first_known(_KNOWN[part], names)


def _first_known(known: Collection[str], names: Collection[str]) -> str | None:
    return next((name for name in known if name in names), None)


def names_speech(names: Collection[str]) -> bool:
    """Tell whether columns of these names hold recordings and what was said, as public corpora name them.

    Example:
        >>> names_speech(["path", "sentence"]), names_speech(["path", "price"])
        (True, False)
    """
    has_text = _first_known((*_KNOWN["text"], *_KNOWN["segments"]), names)
    return bool(has_text and _first_known(_KNOWN["audio"], names))


def refusal(row: Mapping[str, Any], columns: Columns) -> str | None:
    """Return the reason why a row cannot be an utterance, None if there is none.

    Example:
        >>> refusal({"file": "a.wav", "text": "hi", "task": "sing"}, Columns("file", "text", task="task"))
        'bad-task'
    """
    if any(not _is_encodable(row.get(column)) for column in (columns.text, columns.segments) if column):
        return "not-utf8"
    if (text_in(row, columns.task) or "transcribe") not in ("transcribe", "translate"):
        return "bad-task"
    try:
        start_s, end_s = _times(row, columns)
    except (ValueError, OverflowError):
        return "bad-times"
    try:
        segments = segments_in(row, columns.segments)
    except (ValueError, OverflowError, RecursionError):
        return "bad-segments"
    too_long = end_s is not None and segments and segments[-1].end_s > end_s - start_s + _SLACK_S
    return "bad-segments" if too_long else None


def _is_encodable(value: Any) -> bool:
    """Tell whether a cell holds whole characters only."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, Mapping | list):
        return all(map(_is_encodable, value.values() if isinstance(value, Mapping) else value))
    return True


def to_utterance(
    row: Mapping[str, Any], columns: Columns, *, fallback_id: str, folder: Path | None = None
) -> Utterance:
    """Build an utterance from a row. Relative paths are of `folder`; a row without audio gets no bytes.

    Args:
        row: One of which `refusal` says nothing.
        columns: Where its parts stand.
        fallback_id: Its id where it has none; a stretch of a recording adds its start.
        folder: Where its recording lies.

    Example:
        >>> to_utterance({"file": "a/b.flac", "text": "hi"}, Columns("file", "text"), fallback_id="1").id
        '1'
    """
    audio, sampling_rate = recording_in(row.get(columns.audio), folder)
    start_s, end_s = _times(row, columns)
    is_whole = start_s == 0 and end_s is None
    segments = segments_in(row, columns.segments)
    return Utterance(
        id=text_in(row, columns.id) or (fallback_id if is_whole else f"{fallback_id}@{start_s:g}"),
        audio=audio,
        text=text_in(row, columns.text) or " ".join(segment.text for segment in segments),
        sampling_rate=sampling_rate,
        language=text_in(row, columns.language),
        speaker_id=text_in(row, columns.speaker),
        task=text_in(row, columns.task),
        start_s=start_s,
        end_s=end_s,
        segments=segments,
        previous_text=text_in(row, columns.previous_text),
    )


def _times(row: Mapping[str, Any], columns: Columns) -> tuple[float, float | None]:
    """Return where the utterance begins and ends in its recording; a `duration` alone cuts nothing.

    Raises:
        ValueError: If these are no times.
    """
    start, end = seconds_in(row, columns.start), seconds_in(row, columns.end)
    if start is None and end is None:
        return 0.0, None
    if end is None and (duration := seconds_in(row, columns.duration)) is not None:
        end = (start or 0.0) + duration
    if (start or 0.0) < 0 or (end is not None and end <= (start or 0.0)):
        raise ValueError("the wrong way round")
    return start or 0.0, end
