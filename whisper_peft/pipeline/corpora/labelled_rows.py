"""Rows of a corpus that a model has written down, and which of them are fit to learn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from whisper_peft.evaluation.long_form import (
    COMPRESSION_RATIO,
    MEAN_LOG_PROBABILITY,
    NO_SPEECH_PROBABILITY,
)


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """What a model wrote of one recording, or of a stretch of a longer one.

    Attributes:
        id: Its name: that of the source's row, and where it begins if it is one of several stretches.
        source_id: Name of the source's row.
        audio: Where the recording lies; relative paths are of the output folder. None: it is unusable.
        start: Where a stretch begins in the recording, in seconds, and
        end: where it ends. None: the whole recording.
        text: What the model wrote.
        reference: What the source has as its text, if it has one.
        confidence: Geometric mean of the tokens' probabilities.
        compression_ratio: How much zlib shrinks the text.
        looping: Whether the model did not end the row, and was stopped.
        reason: Why the recording cannot be used. None: it can.
    """

    id: str
    source_id: str
    audio: str | None = None
    start: float | None = None
    end: float | None = None
    text: str = ""
    language: str | None = None
    task: str | None = None
    speaker_id: str | None = None
    duration_s: float | None = None
    reference: str | None = None
    confidence: float | None = None
    mean_log_probability: float | None = None
    no_speech_probability: float | None = None
    compression_ratio: float | None = None
    looping: bool | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)


def doubt(row: LabelledRow, min_confidence: float = 0.0) -> str | None:
    """Return why a row should not be learned from, in a countable word, or None if it may be.

    The thresholds of repetition and silence are openai-whisper's.

    Example:
        >>> good = LabelledRow("a", "a", "a.flac", text="Hello.", confidence=0.9, compression_ratio=0.6)
        >>> doubt(good), doubt(good, min_confidence=0.95)
        (None, 'low-confidence')
    """
    if row.reason is not None:
        return row.reason
    if row.looping:
        return "looping"
    if (row.compression_ratio or 0.0) > COMPRESSION_RATIO:
        return "repetitive"
    says_silence = (row.no_speech_probability or 0.0) > NO_SPEECH_PROBABILITY
    if says_silence and (row.mean_log_probability or 0.0) < MEAN_LOG_PROBABILITY:
        return "silent"
    if not row.text.strip():
        return "no-text"
    return "low-confidence" if (row.confidence or 0.0) < min_confidence else None
