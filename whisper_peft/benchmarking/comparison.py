"""What two sides took for the same work: rates, ratios, memory and agreement, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Generic, TypeVar

import numpy as np

from whisper_peft.benchmarking.sides import Measured, SideRun, SideTranscripts
from whisper_peft.errors import BenchmarkError

MeasuredT = TypeVar("MeasuredT", bound=Measured)

TOLERATED_STEPS = 0.05
"""Share by which steps, and mean rows of a step, may differ between the sides."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Lowest, middle and highest of the rounds."""

    min: float
    median: float
    max: float


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of a number over the rounds.

    Example:
        >>> spread([3.0, 1.0, 2.0])
        Spread(min=1.0, median=2.0, max=3.0)
    """
    return Spread(min(values), median(values), max(values))


def ratios(upper: Sequence[float], lower: Sequence[float]) -> Spread:
    """Return the spread of a ratio, round by round: both sides of one met the same state of the machine."""
    return spread([over / under for over, under in zip(upper, lower, strict=True)])


@dataclass(frozen=True, slots=True)
class StepFit:
    """Step time as `intercept_s + slope * audio seconds`; `r2` is the share of variance that explains."""

    slope: float
    intercept_s: float
    r2: float


def fit_steps(runs: Sequence[SideRun]) -> StepFit | None:
    """Fit the seconds of each step to its audio seconds, without each run's first step, which warms up.

    Returns:
        None with fewer than three steps, or where all have the same length.
    """
    audio = np.concatenate([run.step_audio_seconds[1:] for run in runs])
    seconds = np.concatenate([run.step_seconds[1:] for run in runs])
    if len(audio) < 3 or np.ptp(audio) == 0:
        return None
    slope, intercept = np.polyfit(audio, seconds, 1)
    left = np.var(seconds - slope * audio - intercept) / np.var(seconds)
    return StepFit(float(slope), float(intercept), float(1 - left))


def refuse_unlike_work(reference: SideRun, ours: SideRun) -> None:
    """Refuse two runs that did not learn from the same.

    Raises:
        BenchmarkError: With the first count that differs.
    """
    exact = {
        "utterances": (reference.utterances, ours.utterances),
        "target tokens": (reference.target_tokens, ours.target_tokens),
    }
    near = {
        "optimiser steps": (reference.steps, ours.steps),
        "mean rows a step": (reference.rows_per_step, ours.rows_per_step),
    }
    for name, (theirs, own) in {**exact, **near}.items():
        tolerance = TOLERATED_STEPS * theirs if name in near else 0
        if abs(theirs - own) > tolerance:
            raise BenchmarkError(
                f"{name}: {theirs:g} in the reference, {own:g} in ours",
                "two sides that do other work cannot be compared",
                "give both the same settings: --ours and --reference may change speed, not the work",
            )


@dataclass(frozen=True, slots=True)
class AdapterScores:
    """WER of both adapters at one audio context, and the paired interval of (ours - reference)."""

    reference_wer: float
    ours_wer: float
    difference: float
    interval: tuple[float, float]
    utterances: int
    normalizer: str


@dataclass(frozen=True, slots=True)
class BothSides(Generic[MeasuredT]):
    """What both sides took for the same work.

    Attributes:
        reference: Of the reference, in the order of the rounds.
        ours: Of ours.
    """

    reference: tuple[MeasuredT, ...]
    ours: tuple[MeasuredT, ...]

    @property
    def sides(self) -> dict[str, tuple[MeasuredT, ...]]:
        """The rounds by side."""
        return {"reference": self.reference, "ours": self.ours}

    def speed(self, side: str) -> Spread:
        """Return audio-seconds per second."""
        return spread([run.audio_seconds_per_second for run in self.sides[side]])

    @property
    def speed_ratio(self) -> Spread:
        """How many times faster ours is, round by round."""
        speeds = [[run.audio_seconds_per_second for run in runs] for runs in (self.ours, self.reference)]
        return ratios(*speeds)


@dataclass(frozen=True, slots=True)
class TrainingComparison(BothSides[SideRun]):
    """Both sides' training, round by round.

    Attributes:
        worker_trials: Audio-seconds per second of the reference's short trials, by workers.
        flops: Useful operations of one run.
        peaks: Measured matmul peak in operations a second, by side, in the precision it used.
        precisions: By side.
        scores: WER by audio context; empty when it was not asked for.
    """

    worker_trials: Mapping[int, float]
    flops: float
    peaks: Mapping[str, float]
    precisions: Mapping[str, str]
    scores: Mapping[str, AdapterScores]

    def last_epoch_speed(self, side: str) -> Spread:
        """Return audio-seconds per second of the last epoch alone."""
        return spread([run.last_epoch_audio_seconds_per_second for run in self.sides[side]])

    def memory(self, side: str) -> Spread:
        """Return peak bytes above those resident before the first step."""
        return spread([float(run.memory_bytes) for run in self.sides[side]])

    def data_wait(self, side: str) -> Spread:
        """Return the share of time that steps waited for batches."""
        return spread([run.data_wait_seconds / run.wall_seconds for run in self.sides[side]])

    def useful_share(self, side: str) -> Spread:
        """Return useful operations a second over the measured peak."""
        return spread([self.flops / run.wall_seconds / self.peaks[side] for run in self.sides[side]])

    @property
    def last_epoch_ratio(self) -> Spread:
        """How many times faster ours is in the last epoch alone."""
        sides = (self.ours, self.reference)
        return ratios(*[[run.last_epoch_audio_seconds_per_second for run in runs] for runs in sides])

    @property
    def memory_ratio(self) -> Spread:
        """Our memory as a share of the reference's, round by round."""
        return ratios(*[[float(run.memory_bytes) for run in runs] for runs in (self.ours, self.reference)])

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        by_side = {
            side: {
                "precision": self.precisions[side],
                "audio_seconds_per_second": asdict(self.speed(side)),
                "memory_bytes": asdict(self.memory(side)),
                "data_wait_share": asdict(self.data_wait(side)),
                "useful_flops_share": asdict(self.useful_share(side)),
                "matmul_peak_flops_per_second": self.peaks[side],
                "runs": [run.to_dict() for run in runs],
            }
            for side, runs in self.sides.items()
        }
        fit = fit_steps(self.ours)
        return {
            **by_side,
            "speed_ratio": asdict(self.speed_ratio),
            "last_epoch_ratio": asdict(self.last_epoch_ratio),
            "memory_ratio": asdict(self.memory_ratio),
            "useful_flops": self.flops,
            "ours_step_fit": asdict(fit) if fit else None,
            "reference_worker_trials": {str(workers): speed for workers, speed in self.worker_trials.items()},
            "wer": {context: asdict(scores) for context, scores in self.scores.items()},
        }


@dataclass(frozen=True, slots=True)
class TranscriptionComparison(BothSides[SideTranscripts]):
    """Transcribing the scored split: ours at cut context, `generate` at 30 s."""

    scores: AdapterScores

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        by_side = {
            side: {
                "audio_seconds_per_second": asdict(self.speed(side)),
                "memory_bytes": asdict(spread([float(run.memory_bytes) for run in runs])),
                "runs": [run.to_dict() for run in runs],
            }
            for side, runs in self.sides.items()
        }
        return {**by_side, "speed_ratio": asdict(self.speed_ratio), "wer": asdict(self.scores)}


@dataclass(frozen=True, slots=True)
class LogMelComparison:
    """Log-mel in batches of like length against the feature extractor, clip by clip.

    `max_difference` is the largest over the real frames of all clips; `max_difference_padded` over the whole
    window of 30 s, padded with zeros.
    """

    clips: int
    reference_seconds: tuple[float, ...]
    ours_seconds: tuple[float, ...]
    max_difference: float
    max_difference_padded: float

    @property
    def speed_ratio(self) -> Spread:
        """How many times faster ours is, round by round."""
        return ratios(self.reference_seconds, self.ours_seconds)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return {**asdict(self), "speed_ratio": asdict(self.speed_ratio)}


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """Everything that was compared; None where it was not asked for."""

    train: TrainingComparison | None
    evaluate: TranscriptionComparison | None
    log_mel: LogMelComparison | None
    meta: Mapping[str, Any]
    sentences: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        parts = {"train": self.train, "evaluate": self.evaluate, "log_mel": self.log_mel}
        compared = {name: part.to_dict() if part else None for name, part in parts.items()}
        return {**compared, "sentences": list(self.sentences), "meta": dict(self.meta)}
