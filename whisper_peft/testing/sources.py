"""What every source promises to the loop, to resume and to the workers."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.sources.kinds import Rows
from whisper_peft.errors import AudioError
from whisper_peft.testing.promises import pickled, promise
from whisper_peft.types import Utterance

CHEAP_BYTES = 1 << 20
"""Most that a source of files may weigh when it is sent to a worker process: paths, not recordings."""

KEPT_BYTES = 2048
"""Most that may be kept of each row that has passed. An id takes 100 bytes, a second of speech 32,000."""


def check_source(source: Rows, *, decoded: int = 3) -> None:
    """Check that a source keeps what the loop, resume and the workers rely on.

    It yields utterances with unique ids, from the first one at each call and in the same order; its `count`
    and `skipped` agree with that; a copy in another process gives the same; and it keeps nothing of the rows
    that have passed. Its first recordings can be decoded.

    Args:
        source: What `open_source(section, "all")` returns, for one.
        decoded: Rows to decode.

    Raises:
        AssertionError: With the first promise that is broken.

    Example:
        >>> from whisper_peft.data.sources.opening import open_source
        >>> from whisper_peft.recipe.sections import DataSection
        >>> rows = [Utterance(name, np.ones(800), "text", sampling_rate=8000) for name in "ab"]
        >>> check_source(open_source(DataSection(source=rows), "all"))
    """
    rows = list(source)
    skipped = dict(source.skipped)
    promise(bool(rows), "it yields no rows")
    for row in rows:
        _check_row(row)
    ids = [row.id for row in rows]
    twice = next((name for name in ids if ids.count(name) > 1), None) if len(set(ids)) < len(ids) else None
    promise(twice is None, f"the id {twice!r} is used twice")
    _check_passes(source, ids, skipped)
    _check_copy(source, rows)
    _check_memory(source, len(ids))
    for row in rows[:decoded]:
        _check_recording(row)


def _check_row(row: Utterance) -> None:
    promise(isinstance(row, Utterance), f"it yields a {type(row).__name__}, not an Utterance")
    promise(isinstance(row.id, str) and bool(row.id), f"an id is {row.id!r}: it should be a text")
    known = isinstance(row.audio, Path | bytes | np.ndarray)
    promise(known, f"the audio of {row.id} is a {type(row.audio).__name__}: give a Path, bytes or an array")
    has_rate = not isinstance(row.audio, np.ndarray) or row.sampling_rate is not None
    promise(has_rate, f"{row.id} is an array without its sampling_rate")
    promise(isinstance(row.text, str), f"the text of {row.id} is a {type(row.text).__name__}")
    texts = (row.language, row.speaker_id, row.previous_text, row.source)
    are_texts = all(text is None or isinstance(text, str) for text in texts)
    promise(
        are_texts, f"language, speaker_id, previous_text or source of {row.id} is neither a text nor None"
    )
    promise(row.task in (None, "transcribe", "translate"), f"the task of {row.id} is {row.task!r}")
    is_stretch = row.start_s >= 0 and (row.end_s is None or row.end_s > row.start_s)
    promise(is_stretch, f"{row.id} lasts from {row.start_s} to {row.end_s} s")
    _check_segments(row)


def _check_recording(row: Utterance) -> None:
    try:
        decode(row)
    except AudioError as error:
        raise AssertionError(f"the recording of {row.id} cannot be used: {error}") from error


def _check_segments(row: Utterance) -> None:
    told = row.previous_text is not None or not row.previous_segments
    promise(told, f"{row.id} has previous_segments and no previous_text")
    times = [time for segment in row.segments for time in (segment.start_s, segment.end_s)]
    promise(times == sorted(times), f"the segments of {row.id} overlap or are not in order")
    within = not times or times[0] >= 0
    promise(within, f"a segment of {row.id} begins before it: times are from where the utterance begins")
    known = row.end_s is not None and bool(times)
    ends = not known or row.start_s + times[-1] <= (row.end_s or 0.0) + 0.5
    promise(ends, f"a segment of {row.id} ends after it: times are from where the utterance begins")


def _check_passes(source: Rows, ids: Sequence[str], skipped: Mapping[str, int]) -> None:
    first = next(iter(source)).id
    promise(first == ids[0], f"a new pass began at {first}, not at {ids[0]}: start anew at each call")
    again = [row.id for row in source]
    promise(again == list(ids), "a second pass gave other rows, or another order")
    counted = dict(source.skipped)
    stays = f"a pass skipped {skipped}, the next one {counted}: clear the counts when one begins"
    promise(counted == skipped, stays)
    promise(source.count in (None, len(ids)), f"count is {source.count}, but there are {len(ids)} rows")


def _check_copy(source: Rows, rows: Sequence[Utterance]) -> None:
    content = pickled(source, "the source")
    if all(isinstance(row.audio, Path) for row in rows):
        is_cheap = len(content) <= CHEAP_BYTES + KEPT_BYTES * len(rows)
        promise(is_cheap, f"pickled it has {len(content)} bytes: it should name files, not hold them")
    copy: Rows = pickle.loads(content)
    same = [row.id for row in copy] == [row.id for row in rows]
    promise(same, "a pickled copy gave other rows, or another order")


def _check_memory(source: Rows, rows: int) -> None:
    # what other threads keep meanwhile is counted too: a source that keeps its rows does so each time
    kept, most = min(_kept_bytes(source) for _ in range(2)), CHEAP_BYTES + KEPT_BYTES * rows
    grows = f"it holds {kept} bytes after {rows} rows: what has passed should not be kept"
    promise(kept <= most, grows)


def _kept_bytes(source: Rows) -> int:
    """Return what a copy of a source, which has no rows in memory yet, holds after its last row."""
    copy: Rows = pickle.loads(pickle.dumps(source))
    kept = 0
    tracemalloc.start()
    for _ in copy:
        kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return kept
