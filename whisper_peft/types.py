"""The values that pass between the rooms. Frozen; fractions inside, percentages only when printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Waveform: TypeAlias = NDArray[np.float32]
"""Mono samples of shape `(samples,)` at `SAMPLING_RATE`, nominally within [-1, 1]."""

SAMPLING_RATE = 16_000
"""Samples per second that Whisper listens to."""

WINDOW_S = 30.0
"""Length of Whisper's window: 3000 mel frames of 10 ms, 1500 encoder positions."""

FRAMES_PER_SECOND = 100
"""Log-mel frames per second: a hop of 160 samples at 16 kHz."""

MAX_LABEL_TOKENS = 448
"""Positions of Whisper's decoder (`max_target_positions`): prompt, prefix, text and end-of-text together."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a transcript, in seconds from the start of the recording or utterance it is of."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording, or a stretch of a longer one, and what was said in it.

    A source yields it with `audio` as it lies (a path, encoded bytes, or an array with its rate);
    after decoding `audio` is a `Waveform` and `sampling_rate` is `SAMPLING_RATE`.

    Attributes:
        start_s: Where the utterance begins in what lies at `audio`, and
        end_s: where it ends; None: with the recording. Decoding cuts it out.
        segments: Timed stretches of `text`, from the utterance's own start; empty where none are known.
        previous_text: What was said just before in the same recording, where that is known.
        source: Name of the source, where several are mixed.
    """

    id: str
    audio: Path | bytes | NDArray[Any]
    text: str
    sampling_rate: int | None = None
    language: str | None = None
    task: str | None = None
    speaker_id: str | None = None
    duration_s: float | None = None
    start_s: float = 0.0
    end_s: float | None = None
    segments: tuple[Segment, ...] = ()
    previous_text: str | None = None
    source: str | None = None

    def with_audio(self, waveform: Waveform) -> Utterance:
        """Return this utterance with a decoded or augmented waveform at 16 kHz."""
        return replace(
            self,
            audio=waveform,
            sampling_rate=SAMPLING_RATE,
            duration_s=len(waveform) / SAMPLING_RATE,
            start_s=0.0,
            end_s=None,
        )

    @property
    def waveform(self) -> Waveform:
        """The decoded samples, shape `(samples,)`.

        Raises:
            TypeError: If the utterance has not been decoded (a bug of the caller).
        """
        if not isinstance(self.audio, np.ndarray) or self.sampling_rate != SAMPLING_RATE:
            raise TypeError(f"utterance {self.id} has not been decoded")
        return self.audio


@dataclass(frozen=True, slots=True)
class Prediction:
    """One scored utterance, as written to `predictions.jsonl`.

    `reference` and `hypothesis` are raw text; the counts and `wer` are of the normalised words.
    """

    id: str
    reference: str
    hypothesis: str
    duration_s: float
    wer: float
    substitutions: int
    deletions: int
    insertions: int
    hits: int
    speaker_id: str | None = None
    language: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class EvalResult:
    """Word and character error rates of generated transcripts, and what they cost.

    Rates are fractions. `wer`, `cer`, the interval and the counts use the named normaliser; `wer_raw` and
    `cer_raw` compare the text as it is. `rtfx` is audio seconds per wall-clock second of transcription.
    `looping` counts transcripts that were cut because the model did not end them.
    """

    wer: float
    cer: float
    wer_raw: float
    cer_raw: float
    wer_interval: tuple[float, float]
    utterances: int
    normalizer: str
    language: str | None
    audio_context: str
    rtfx: float
    peak_memory_bytes: int
    substitutions: int
    deletions: int
    insertions: int
    hits: int
    audio_seconds: float = 0.0
    looping: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    predictions: tuple[Prediction, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form, without the predictions."""
        plain = asdict(replace(self, predictions=()))
        del plain["predictions"]
        return {**plain, "wer_interval": list(self.wer_interval), "skipped": dict(self.skipped)}


@dataclass(frozen=True, slots=True)
class EncoderCacheUse:
    """How often kept encoder states were used (`hits`), how often not, and their bytes, in all processes."""

    kind: str
    hits: int
    misses: int
    bytes: int

    @property
    def hit_share(self) -> float:
        """Windows that were not encoded again, as a share of all."""
        return self.hits / max(self.hits + self.misses, 1)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What training did. `audio_seconds_per_second` is unpadded speech over the wall-clock of the steps."""

    steps: int
    epochs: float
    first_loss: float
    final_loss: float
    audio_seconds: float
    audio_seconds_per_second: float
    data_wait_share: float
    train_seconds: float
    peak_memory_bytes: int
    trainable_parameters: int
    total_parameters: int
    world_size: int
    best_step: int | None = None
    best_wer: float | None = None
    stopped_by: str = "max_steps"
    skipped: Mapping[str, int] = field(default_factory=dict)
    encoder_cache: EncoderCacheUse | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The merged folder and how far its outputs are from the adapter model's on real clips.

    `max_logit_difference` is the largest absolute difference over all target positions of all clips, the base
    being in float both times. After training on quantised weights, `quantized_max_logit_difference` and
    `quantized_transcripts_equal` (a fraction of the clips) compare with the model as it was trained: that is
    the price of leaving the quantised weights, not of the folding.
    """

    folder: str
    max_logit_difference: float
    transcripts_equal: bool
    clips: int
    differing: tuple[str, ...]
    tolerance: float
    quantized_max_logit_difference: float | None = None
    quantized_transcripts_equal: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said in one recording, whole and by segments."""

    file: str
    text: str
    language: str | None
    duration_s: float
    segments: tuple[Segment, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)
