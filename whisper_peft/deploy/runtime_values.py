"""What a runtime is asked and what it answers: plain values, so that its process need load no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RuntimeRequest:
    """What every runtime is asked: the same clips with the same settings.

    Greedy, no timestamps, no temperature fallback, no previous text, no voice-activity filter.

    Attributes:
        clips: Files of the clips: 16 kHz, mono, 16-bit WAV.
        language: Token such as `en`, None for an English-only model.
        task: transcribe or translate.
        quantization: What the folder was written in, which some runtimes must be told.
        short_context: Whether the encoder hears each clip alone instead of 30 s, where the runtime can.
        threads: Threads to compute with.
        decoder_input_ids: Tokens of each clip to return logits at, where the runtime shows any; else empty.
    """

    clips: tuple[str, ...]
    language: str | None
    task: str
    quantization: str
    short_context: bool = False
    threads: int = 1
    decoder_input_ids: tuple[tuple[int, ...], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)


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
