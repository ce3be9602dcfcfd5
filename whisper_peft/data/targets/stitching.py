"""Several utterances in one 30 s window, one after the other, with their texts joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from whisper_peft.types import MAX_LABEL_TOKENS, WINDOW_S, Utterance

OPEN_WINDOWS = 32
"""Windows that are being filled at a time; the fullest gives way."""

DENSEST_BYTES_PER_TOKEN = 2.0
"""Text that Whisper's tokenizer spells densely: what does not fit after all is split when it is labelled."""


@dataclass(slots=True)
class _Open:
    """A window that is being filled, for speech in one language and task."""

    kind: tuple[str | None, str | None]
    seconds: float = 0.0
    tokens: float = 0.0
    rows: list[Utterance] = field(default_factory=list)

    def fits(self, kind: tuple[str | None, str | None], seconds: float, tokens: float) -> bool:
        return (
            self.kind == kind
            and self.seconds + seconds <= WINDOW_S
            and self.tokens + tokens <= MAX_LABEL_TOKENS
        )


def stitch(rows: Sequence[Utterance], longest_stretch: float = 1.0) -> list[tuple[Utterance, ...]]:
    """Put rows into windows of at most 30 s: each into the fullest open window that still has room.

    Only rows of one language and task share a window, in the order they come.

    Args:
        rows: Undecoded utterances with `duration_s`; one that cannot tell has a window to itself.
        longest_stretch: How much longer augmentation may make an utterance, at least 1.

    Example:
        >>> rows = [Utterance(str(s), b"", "text", duration_s=s) for s in (20.0, 15.0, 9.0, 14.0)]
        >>> [[row.id for row in window] for window in stitch(rows)]
        [['20.0', '9.0'], ['15.0', '14.0']]
    """
    windows: list[_Open] = []
    unfilled: list[_Open] = []
    for row in rows:
        kind = row.language, row.task
        seconds = (row.duration_s or WINDOW_S) * longest_stretch
        tokens = len(row.text.encode()) / DENSEST_BYTES_PER_TOKEN
        fitting = [window for window in unfilled if window.fits(kind, seconds, tokens)]
        if fitting:
            chosen = max(fitting, key=lambda window: window.seconds)
        else:
            chosen = _Open(kind)
            windows.append(chosen)
            unfilled.append(chosen)
            if len(unfilled) > OPEN_WINDOWS:
                unfilled.remove(max(unfilled, key=lambda window: window.seconds))
        chosen.rows.append(row)
        chosen.seconds += seconds
        chosen.tokens += tokens
    return [tuple(window.rows) for window in windows]
