"""How much is heard for a health check, each time by both models."""

from __future__ import annotations

from dataclasses import dataclass

from whisper_peft.evaluation.health.values import Level


@dataclass(frozen=True, slots=True)
class Budget:
    """What is heard, in windows of 30 s for the encoder: on a CPU they are what takes time.

    Attributes:
        named: Utterances of other speech that somebody named.
        brought: Languages of the speech that the package brings, and
        prompts: its utterances of each.
        sounds: Clips without speech.
        windows: Joined utterances that timestamps are asked for.
        recordings: Recordings of a minute.
        rounded: Utterances that are heard in rounded weights, or in float ones after quantised training.
    """

    named: int
    brought: int
    prompts: int
    sounds: int
    windows: int
    recordings: int
    rounded: int


BUDGETS: dict[Level, Budget] = {
    "quick": Budget(named=60, brought=1, prompts=10, sounds=10, windows=2, recordings=1, rounded=0),
    "full": Budget(named=500, brought=2, prompts=12, sounds=24, windows=30, recordings=15, rounded=40),
}
"""quick: about 25 windows for each model, other speech and sounds as many as a good verdict takes; full:
minutes."""
