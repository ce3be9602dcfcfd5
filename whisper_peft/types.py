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
        previous_segments: Timed stretches of `previous_text`, from the start of the utterance that it is of;
            empty where none are known.
        source: Name of the mixed source it comes from; None for the main one.
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
    previous_segments: tuple[Segment, ...] = ()
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

    `reference` and `hypothesis` are raw text; the counts and `wer` are of the normalised words. `source` is
    the name of the mixed source that it is of; None: the main one. `snr_db` is the estimated signal-to-noise
    ratio of the recording, None where it has no noise to measure. `mean_log_probability` is of the tokens of
    the transcript, None after a beam search. `looping`: the model did not end the transcript.
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
    source: str | None = None
    snr_db: float | None = None
    mean_log_probability: float | None = None
    looping: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TimestampProbe:
    """Timestamps of windows of joined utterances.

    `well_formed` is the share of windows whose timestamps, written without rules, come in pairs around text
    and in order. `boundary_error_s` is the mean distance of the nearest timestamp from where utterances were
    joined, `boundaries_found` the share that has one within half a second; None where nothing was joined.
    """

    windows: int
    well_formed: float
    boundaries: int
    boundary_error_s: float | None
    boundaries_found: float | None


@dataclass(frozen=True, slots=True)
class LongFormProbe:
    """Word error rate of recordings of a minute or more, each window alone, and told the text before it."""

    recordings: int
    audio_seconds: float
    wer: float
    wer_previous_text: float


@dataclass(frozen=True, slots=True)
class SilenceProbe:
    """Words written for clips in which nobody speaks, and how probable the model holds it on average."""

    clips: int
    clips_with_words: int
    words: int
    no_speech_probability: float


@dataclass(frozen=True, slots=True)
class Probes:
    """What word errors on short clips do not show. `long_form` is None where there is too little speech."""

    timestamps: TimestampProbe
    long_form: LongFormProbe | None
    silence: SilenceProbe


@dataclass(frozen=True, slots=True)
class StyleProfile:
    """How transcripts are written, as fractions of words or of transcripts, or by 100 words.

    Words are those that white space separates. The shares of words are of those with letters that have case;
    `starts_with_capital` is of transcripts with such letters.
    """

    capitalised_words: float
    all_caps_words: float
    starts_with_capital: float
    ends_in_mark: float
    commas_per_100_words: float
    digits_per_100_words: float


@dataclass(frozen=True, slots=True)
class EvalResult:
    """Word and character error rates of generated transcripts, and what they cost.

    Rates are fractions. `wer`, `cer`, the interval and the counts use the named normaliser; `wer_raw` and
    `cer_raw` compare the text as it is. `rtfx` is audio seconds per wall-clock second of transcription.
    `style` tells how transcripts are written, `characters_as_words` that some references are in a script
    without spaces, whose characters count as words.
    `looping` counts transcripts that were cut because the model did not end them. `sources` are the scores of
    what was mixed in, by name: no other number here has a part of them.
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
    style: StyleProfile | None = None
    characters_as_words: bool = False
    skipped: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, EvalResult] = field(default_factory=dict)
    probes: Probes | None = None
    predictions: tuple[Prediction, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form, without the predictions."""
        plain = asdict(replace(self, predictions=(), sources={}))
        del plain["predictions"]
        sources = {name: result.to_dict() for name, result in self.sources.items()}
        lists = {"wer_interval": list(self.wer_interval), "skipped": dict(self.skipped), "sources": sources}
        return {**plain, **lists}


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
    """What training did. `audio_seconds_per_second` is unpadded speech over the wall-clock of the steps.

    `targets` counts windows by what was learned from them beside plain text: `timestamps`, `previous_text`,
    `long_form`, `no_speech`. `refused_updates` are steps that changed no weight, `spikes` those whose loss or
    gradient stuck out; `micro_batch_parts` is above 1 where memory ran short and micro-batches were halved.
    `stopped_by` is the field of `train` that ended the run (`max_steps`, `epochs`, `stream_steps`), or
    `early_stopping`, `callback` or `interrupt`; older reports have `max_steps` for each of the fields.
    """

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
    targets: Mapping[str, int] = field(default_factory=dict)
    refused_updates: int = 0
    spikes: int = 0
    rollbacks: int = 0
    micro_batch_parts: int = 1
    encoder_cache: EncoderCacheUse | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The merged folder and how far its outputs are from the adapter model's on real clips.

    `max_logit_difference` is the largest absolute difference over all target positions of all clips, the base
    being in float both times. After training on quantised weights, `quantized_max_logit_difference` and
    `quantized_transcripts_equal` (a fraction of the clips) compare with the model as it was trained: where
    `base` is `float` that is the price of leaving the quantised weights, not of the folding. `scale` is the
    factor of the adapter's update, on both sides of every comparison.
    """

    folder: str
    max_logit_difference: float
    transcripts_equal: bool
    clips: int
    differing: tuple[str, ...]
    tolerance: float
    quantized_max_logit_difference: float | None = None
    quantized_transcripts_equal: float | None = None
    base: str = "float"
    scale: float = 1.0

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
