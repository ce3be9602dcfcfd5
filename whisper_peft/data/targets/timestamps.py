"""When in its window each piece of text is said, on Whisper's grid of timestamp tokens."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from whisper_peft.types import WINDOW_S, Segment, Utterance

TIMESTAMP_S = 0.02
"""Seconds between two timestamp tokens: one encoder position."""

LAST_TIMESTAMP = round(WINDOW_S / TIMESTAMP_S)
"""The token <|30.00|>, counted from <|0.00|>."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An utterance and the stretch of its window that it takes."""

    utterance: Utterance
    start_s: float
    end_s: float


def place(utterances: Sequence[Utterance], durations_s: Sequence[float]) -> tuple[Placed, ...]:
    """Return utterances heard one after the other, where they lie in their window.

    Example:
        >>> rows = [Utterance("a", b"", "one"), Utterance("b", b"", "two")]
        >>> [(one.start_s, one.end_s) for one in place(rows, [2.0, 3.5])]
        [(0.0, 2.0), (2.0, 5.5)]
    """
    ends = itertools.accumulate(durations_s)
    return tuple(
        Placed(utterance, end_s - duration_s, end_s)
        for utterance, duration_s, end_s in zip(utterances, durations_s, ends, strict=True)
    )


def stretched(utterance: Utterance, factor: float) -> Utterance:
    """Return an utterance whose speech takes `factor` times as long: its segments move along.

    So do those of the text before it, which is heard at the same speed.

    Example:
        >>> row = Utterance("a", b"", "one", segments=(Segment(1.0, 2.0, "one"),))
        >>> stretched(row, 0.5).segments
        (Segment(start_s=0.5, end_s=1.0, text='one'),)
    """
    if factor == 1.0:
        return utterance
    moved = [
        tuple(replace(one, start_s=factor * one.start_s, end_s=factor * one.end_s) for one in segments)
        for segments in (utterance.segments, utterance.previous_segments)
    ]
    return replace(utterance, segments=moved[0], previous_segments=moved[1])


def timed_text(placed: Placed, text: str) -> list[Segment]:
    """Return the pieces of an utterance's text, in seconds of its window.

    They are the utterance's own segments; the whole utterance is one where it has none, or where their words
    are not those of the text: what is learned is always `text`.

    Args:
        placed: The utterance, and where it lies.
        text: Its text as it is to be learned, which may be in another case than that of the segments.

    Example:
        >>> said = Segment(0.1, 0.9, "ONE"), Segment(1.5, 2.0, "TWO")
        >>> timed_text(Placed(Utterance("a", b"", "ONE TWO", segments=said), 10.0, 12.5), "One two")
        [Segment(start_s=10.1, end_s=10.9, text='One'), Segment(start_s=11.5, end_s=12.0, text='two')]
    """
    segments = [one for one in placed.utterance.segments if one.text.strip()]
    parts = _cut_like([one.text for one in segments], text)
    if parts is None:
        return [Segment(placed.start_s, placed.end_s, text)]
    return [
        Segment(placed.start_s + one.start_s, min(placed.start_s + one.end_s, placed.end_s), part)
        for one, part in zip(segments, parts, strict=True)
    ]


def _cut_like(texts: Sequence[str], text: str) -> list[str] | None:
    """Cut a text where other writings of its pieces end, None where they are not its pieces."""
    words, counts = text.split(), [len(one.split()) for one in texts]
    if texts and sum(counts) == len(words):
        ends = list(itertools.accumulate(counts))
        return [" ".join(words[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    unspaced = ["".join(one.split()) for one in texts]
    return unspaced if texts and "".join(unspaced) == "".join(words) else None


def on_grid(segments: Iterable[Segment]) -> list[tuple[int, int, str]]:
    """Return the timestamps of segments as steps from <|0.00|>: none before the last, none past <|30.00|>.

    A segment takes at least one step where there is room, as Whisper's decoding rules want it.

    Example:
        >>> on_grid([Segment(0.0, 1.011, "one"), Segment(0.9, 0.9, "two"), Segment(29.0, 31.0, "three")])
        [(0, 51, 'one'), (51, 52, 'two'), (1450, 1500, 'three')]
    """
    steps: list[tuple[int, int, str]] = []
    last = 0
    for segment in segments:
        start = min(max(round(segment.start_s / TIMESTAMP_S), last), LAST_TIMESTAMP)
        last = min(max(round(segment.end_s / TIMESTAMP_S), start + 1), LAST_TIMESTAMP)
        steps.append((start, last, segment.text))
    return steps
