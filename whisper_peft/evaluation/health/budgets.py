"""How much is heard for a health check, each time by both models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from whisper_peft.evaluation.health.values import Level


@dataclass(frozen=True, slots=True)
class Budget:
    """What is heard, in windows of 30 s for the encoder: on a CPU they are what takes time.

    Attributes:
        retention: Utterances of other speech, of each source that was not scored with the run.
        brought: Languages of the speech that the package brings.
        sounds: Clips without speech.
        windows: Joined utterances that timestamps are asked for.
        recordings: Recordings of a minute.
        rounded: Utterances that are heard in rounded weights, or in float ones after quantised training.
    """

    retention: int
    brought: int
    sounds: int
    windows: int
    recordings: int
    rounded: int


BUDGETS: Mapping[Level, Budget] = {
    "quick": Budget(retention=6, brought=1, sounds=6, windows=4, recordings=1, rounded=0),
    "full": Budget(retention=200, brought=2, sounds=24, windows=30, recordings=15, rounded=40),
}
"""quick: about 19 windows for each model, some 20 s with whisper-base on two cores. full: minutes."""
