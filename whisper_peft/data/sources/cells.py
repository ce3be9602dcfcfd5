"""What a cell of a row says: text, a number of seconds, timed segments, or a recording as it lies."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_peft.errors import DataError
from whisper_peft.types import Segment


def text_in(row: Mapping[str, Any], column: str | None) -> str | None:
    """Return a cell as text; None for an empty one, NaN (an empty cell of pandas), or what is no text.

    Example:
        >>> text_in({"text": " hi "}, "text"), text_in({"text": ""}, "text")
        ('hi', None)
    """
    value = row.get(column) if column is not None else None
    if not isinstance(value, str | int | float) or value != value:
        return None
    encodable = str(value).encode("utf-8", "replace")  # JSON can hold half a character
    return encodable.decode("utf-8").strip() or None


def seconds_in(row: Mapping[str, Any], column: str | None) -> float | None:
    """Return a cell as a number of seconds; None for an empty one.

    Raises:
        ValueError: If it is none.

    Example:
        >>> seconds_in({"start": "1.5"}, "start")
        1.5
    """
    value = row.get(column) if column is not None else None
    return None if _is_empty(value) else _finite(value)


def segments_in(row: Mapping[str, Any], column: str | None) -> tuple[Segment, ...]:
    """Return timed parts of a text, given as a list or as the JSON of one.

    Raises:
        ValueError: If they are something else.

    Example:
        >>> segments_in({"parts": [{"start": 0, "end": 1.5, "text": "Hi."}]}, "parts")
        (Segment(start_s=0.0, end_s=1.5, text='Hi.'),)
    """
    value = row.get(column) if column is not None else None
    if _is_empty(value):
        return ()
    items = json.loads(value) if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise ValueError("no list of segments")
    segments = tuple(_segment(item) for item in items)
    times = [time for segment in segments for time in (segment.start_s, segment.end_s)]
    if times != sorted(times) or any(time < 0 for time in times[:1]):
        raise ValueError("segments that overlap, or are not in order")
    return tuple(segment for segment in segments if segment.text)


def _segment(item: Mapping[str, Any]) -> Segment:
    return Segment(_finite(item.get("start")), _finite(item.get("end")), text_in(item, "text") or "")


def _is_empty(value: Any) -> bool:
    """Tell whether there is nothing in a cell; pandas writes that as NaN."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("no number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("no number of seconds")
    return number


def recording_in(value: Any, folder: Path | None) -> tuple[Path | bytes | NDArray[Any], int | None]:
    """Return the recording of a cell and, for samples, their rate.

    Example:
        >>> str(recording_in("a.wav", Path("speech"))[0])
        'speech/a.wav'
    """
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
