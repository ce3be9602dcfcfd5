"""Utterances that follow each other in one recording: where the source tells, and what they make together.

Two sources tell: stretches of one longer recording, by their times, and LibriSpeech, by its ids: the
utterances of a chapter are numbered as they were read.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from whisper_peft.data.targets.stitching import DENSEST_BYTES_PER_TOKEN
from whisper_peft.types import MAX_LABEL_TOKENS, WINDOW_S, Segment, Utterance

LONGEST_PAUSE_S = 2.0
"""Between two stretches of a recording; in a longer one there may be words that nobody wrote down."""

_CHAPTER = re.compile(r"(?P<chapter>(?:.*\W)?(?P<speaker>\d+)-\d+)-(?P<number>\d{4})(?:@.+)?")
"""Id of an utterance of LibriSpeech; in a mixture the name of the source stands before it."""


def place_in_recording(utterance: Utterance) -> tuple[str, float] | None:
    """Return the recording that an utterance is of, and its place in it; None where the source does not say.

    Example:
        >>> place_in_recording(Utterance("19-198-0003", b"", "IT IS", speaker_id="19"))
        ('19-198', 3.0)
    """
    if utterance.end_s is not None and isinstance(utterance.audio, Path):
        return str(utterance.audio), utterance.start_s
    told = _CHAPTER.fullmatch(utterance.id)
    if told is None or told["speaker"] != utterance.speaker_id:
        return None
    return told["chapter"], float(told["number"])


def follows(before: Utterance, after: Utterance) -> bool:
    """Tell whether `after` is what is said next in the recording of `before`, in its language and task.

    Example:
        >>> rows = [Utterance(f"19-198-000{n}", b"", "text", speaker_id="19") for n in (0, 1, 3)]
        >>> follows(rows[0], rows[1]), follows(rows[1], rows[2])
        (True, False)
    """
    first, second = place_in_recording(before), place_in_recording(after)
    if first is None or second is None or first[0] != second[0]:
        return False
    if (before.language, before.task) != (after.language, after.task):
        return False
    if before.end_s is None or after.end_s is None:
        return before.end_s is after.end_s and second[1] == first[1] + 1
    return 0 <= after.start_s - before.end_s <= LONGEST_PAUSE_S


def with_previous_text(utterances: Iterable[Utterance]) -> Iterator[Utterance]:
    """Yield utterances in the source's order, each with the text before it and its times, if these are known.

    What the source itself says was said before stays.

    Example:
        >>> rows = [Utterance(f"19-198-000{n}", b"", text, speaker_id="19") for n, text in enumerate("ab")]
        >>> [row.previous_text for row in with_previous_text(rows)]
        [None, 'a']
    """
    last: dict[str | None, Utterance] = {}  # of each source, as a mixture deals them in turn
    for utterance in utterances:
        before = last.get(utterance.source)
        last[utterance.source] = utterance
        if before is not None and utterance.previous_text is None and follows(before, utterance):
            yield replace(utterance, previous_text=before.text, previous_segments=timed_whole(before))
        else:
            yield utterance


def timed_whole(utterance: Utterance) -> tuple[Segment, ...]:
    """Return the timed stretches of an utterance: its segments, or the whole of it where it tells its length.

    Example:
        >>> timed_whole(Utterance("a", b"", "It is", duration_s=1.5))
        (Segment(start_s=0.0, end_s=1.5, text='It is'),)
    """
    if utterance.segments or utterance.duration_s is None:
        return utterance.segments
    return (Segment(0.0, utterance.duration_s, utterance.text),)


def join_neighbours(
    rows: Sequence[Utterance], rng: np.random.Generator, *, share: float, longest_stretch: float = 1.0
) -> tuple[list[tuple[Utterance, ...]], list[Utterance]]:
    """Return windows of up to 30 s of neighbours, at least two in each, and the rows that are left.

    Where the windows of a recording begin is drawn anew each time. Stretches of one recording take the pause
    after them along, and say when they end.

    Args:
        rows: Undecoded utterances with `duration_s`, in any order.
        rng: Draws where windows begin, and which of them are joined.
        share: Share of the windows that are joined; the rows of the others are left.
        longest_stretch: How much longer augmentation may make an utterance, at least 1.
    """
    windows: list[tuple[Utterance, ...]] = []
    joined: set[int] = set()
    for run in _runs(rows):
        for places in _cut(rows, run, rng.uniform(0, WINDOW_S), longest_stretch):
            if len(places) > 1 and rng.random() < share:
                windows.append(_with_pauses([rows[place] for place in places]))
                joined.update(places)
    return windows, [row for place, row in enumerate(rows) if place not in joined]


def _runs(rows: Sequence[Utterance]) -> Iterator[list[int]]:
    """Yield the places of rows that follow each other without a gap, in the order of their recording."""
    known = {number: place for number, row in enumerate(rows) if (place := place_in_recording(row))}
    ordered = sorted(known, key=lambda number: (known[number], number))
    pairs = enumerate(itertools.pairwise(ordered), 1)
    cuts = [n for n, (before, after) in pairs if not follows(rows[before], rows[after])]
    for start, end in itertools.pairwise([0, *cuts, len(ordered)]):
        yield ordered[start:end]


def _cut(
    rows: Sequence[Utterance], run: Sequence[int], first_s: float, longest_stretch: float
) -> Iterator[list[int]]:
    """Cut a run into windows: the first of up to `first_s`, the others of up to 30 s."""
    window: list[int] = []
    limit_s = first_s
    for place in run:
        if window and not _fit([rows[one] for one in (*window, place)], limit_s / longest_stretch):
            yield window
            window, limit_s = [], WINDOW_S
        window.append(place)
    if window:
        yield window


def _fit(rows: Sequence[Utterance], limit_s: float) -> bool:
    first, last = rows[0], rows[-1]
    if last.end_s is None:
        seconds = sum(row.duration_s or WINDOW_S for row in rows)
    else:
        seconds = last.end_s - first.start_s
    tokens = sum(len(row.text.encode()) for row in rows) / DENSEST_BYTES_PER_TOKEN
    return seconds <= limit_s and tokens <= MAX_LABEL_TOKENS


def _with_pauses(window: Sequence[Utterance]) -> tuple[Utterance, ...]:
    """Let each stretch of a recording but the last go on to where the next begins."""
    longer = [_up_to(row, after.start_s) for row, after in itertools.pairwise(window)]
    return (*longer, window[-1])


def _up_to(row: Utterance, end_s: float) -> Utterance:
    if row.end_s is None:
        return row
    said = timed_whole(replace(row, duration_s=row.end_s - row.start_s))
    return replace(row, end_s=end_s, duration_s=end_s - row.start_s, segments=said)
