"""What a server asks of whatever transcribes: windows in, transcripts out, one batch at a time."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from whisper_peft.evaluation.generation import AudioContext
from whisper_peft.evaluation.word_alignment import Word
from whisper_peft.types import SAMPLING_RATE, Waveform


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that clients can name.

    Attributes:
        name: What they name it.
        language: Code of the language where a request gives none. None: it is detected.
        audio_context: full: 30 s; cut: as much as a clip lasts.
        is_multilingual: Whether it is told the language, and can translate.
    """

    name: str
    language: str | None
    audio_context: AudioContext
    is_multilingual: bool


@dataclass(frozen=True, slots=True)
class Window:
    """At most 30 s of one recording, and what is wanted of it.

    Attributes:
        waveform: Samples at 16 kHz.
        language: Code of the language. None: it is detected.
        task: transcribe or translate.
        prompt: Tokens of the text that is taken to come before.
        detailed: Whether times of words and probabilities are wanted.
    """

    waveform: Waveform
    language: str | None
    task: str = "transcribe"
    prompt: tuple[int, ...] = ()
    detailed: bool = False

    @property
    def duration_s(self) -> float:
        """How long it lasts."""
        return len(self.waveform) / SAMPLING_RATE


@dataclass(frozen=True, slots=True)
class Heard:
    """The transcript of a window; without details there are no words, and the probabilities are 0."""

    text: str
    tokens: tuple[int, ...]
    language: str
    words: tuple[Word, ...] = ()
    mean_log_probability: float = 0.0
    no_speech_probability: float = 0.0


class Engine(Protocol):
    """Transcribes windows. Called from one thread at a time."""

    @property
    def models(self) -> Mapping[str, ServedModel]:
        """What it serves, by name; the first is the one that was asked for."""
        ...

    def prompt_tokens(self, text: str) -> tuple[int, ...]:
        """Return the tokens of the text that is taken to come before."""
        ...

    def batch_key(self, model: str, window: Window) -> Hashable:
        """Return what windows of one model must have in common to be heard together."""
        ...

    def transcribe(self, model: str, windows: Sequence[Window]) -> list[Heard]:
        """Transcribe windows of equal keys, each as if it were alone."""
        ...


def heard_seconds(model: ServedModel, window: Window) -> float:
    """Return how many seconds the encoder hears of a window.

    Example:
        >>> import numpy as np
        >>> short = ServedModel("a", "en", "cut", is_multilingual=False)
        >>> heard_seconds(short, Window(np.zeros(32_000, np.float32), "en"))
        2.0
    """
    return 30.0 if model.audio_context == "full" else max(window.duration_s, 1.0)
