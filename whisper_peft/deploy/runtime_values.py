"""What a runtime is asked and what it answers: plain values, so that its process need load no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RuntimeRequest:
    """What every runtime is asked: the same clips with the same settings.

    Greedy, no timestamps, no temperature fallback, no previous text, no voice-activity filter.

    Attributes:
        clips: Files of the clips: fp32 samples at 16 kHz, mono, as NumPy's `.npy`.
        language: Code such as `en`, None for an English-only model.
        task: transcribe or translate.
        threads: Threads to compute with.
        audio_frames: Log-mel frames that the encoder hears of each clip; empty: 30 s of all.
        decoder_input_ids: Tokens of each clip to return logits at, where the runtime shows any; else empty.
    """

    clips: tuple[str, ...]
    language: str | None
    task: str
    threads: int = 1
    audio_frames: tuple[int, ...] = ()
    decoder_input_ids: tuple[tuple[int, ...], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> RuntimeRequest:
        """Return the request of a JSON file."""
        lists = {name: tuple(plain[name]) for name in ("clips", "audio_frames")}
        tokens = tuple(tuple(row) for row in plain["decoder_input_ids"])
        return cls(**{**plain, **lists, "decoder_input_ids": tokens})


@dataclass(frozen=True, slots=True)
class RuntimeAnswer:
    """What a runtime said, in a process of its own.

    Attributes:
        runtime: Its name, such as `faster-whisper`.
        version: Its version, and that of the library below it.
        transcripts: One for each clip, in order, stripped of surrounding blanks.
        load_s: Seconds to load the model, libraries already imported.
        seconds: Seconds to transcribe all clips, one after the other.
        peak_memory_bytes: Peak resident memory of the process.
        logits: A `.npz` file of arrays `0`, `1`, ... of shape `(tokens, vocabulary)`, fp32. None where the
            runtime shows none.
    """

    runtime: str
    version: str
    transcripts: tuple[str, ...]
    load_s: float
    seconds: float
    peak_memory_bytes: int
    logits: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> RuntimeAnswer:
        """Return the answer of a JSON file."""
        return cls(**{**plain, "transcripts": tuple(plain["transcripts"])})
