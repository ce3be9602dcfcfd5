"""How much the encoder hears of a clip: what it lasts, or more of Whisper's 30 s window."""

from __future__ import annotations

import math
from dataclasses import dataclass

from whisper_peft.data.randomness import utterance_rng
from whisper_peft.recipe.sections import TrainSection
from whisper_peft.types import FRAMES_PER_SECOND, WINDOW_S

WINDOW_FRAMES = int(WINDOW_S * FRAMES_PER_SECOND)
"""Log-mel frames of Whisper's window: 3000."""

SHORTEST_CONTEXT_FRAMES = 100
"""No context is shorter than a second."""

CONTEXT_QUANTUM_FRAMES = 50
"""Cut contexts of evaluation are rounded up to half seconds, so that rows are encoded together."""

_STREAM = "audio-context"
"""Separates these draws from those of the augmentations."""


@dataclass(frozen=True, slots=True)
class AudioContexts:
    """Choose the audio context of each window in training, as a function of (seed, epoch, id).

    Args:
        full: Whether every context is 30 s.
        full_share: Share of windows that hear 30 s all the same, so that the model does not forget how.
        padding_s: Others hear up to this much silence after their end, drawn evenly.
        seed: Seed of the run.

    Example:
        >>> AudioContexts.of(TrainSection(), seed=0).frames("a", epoch=0, real_frames=251)
        252
    """

    full: bool
    full_share: float
    padding_s: float
    seed: int

    @classmethod
    def of(cls, section: TrainSection, *, seed: int) -> AudioContexts:
        """Return the contexts of a recipe's training."""
        full = section.audio_context != "cut"
        return cls(full, section.full_context_share, section.context_padding_s, seed)

    def frames(self, window_id: str, *, epoch: int, real_frames: int) -> int:
        """Return the even number of log-mel frames that the encoder hears, at least `real_frames`.

        Args:
            window_id: Id of the utterance, or of the first of those stitched together.
            epoch: Number of the epoch.
            real_frames: Frames that hold speech, at most 3000.
        """
        if self.full:
            return WINDOW_FRAMES
        chance, extra = utterance_rng(self.seed, epoch, f"{_STREAM} {window_id}").random(2)
        if chance < self.full_share:
            return WINDOW_FRAMES
        wanted = real_frames + float(extra) * self.padding_s * FRAMES_PER_SECOND
        return min(max(2 * math.ceil(wanted / 2), SHORTEST_CONTEXT_FRAMES), WINDOW_FRAMES)


def context_frames(duration_s: float) -> int:
    """Return the log-mel frames that evaluation lets the encoder hear of so many seconds, in whole quanta.

    Example:
        >>> context_frames(1.01), context_frames(30.0)
        (150, 3000)
    """
    quanta = math.ceil(round(duration_s * FRAMES_PER_SECOND / CONTEXT_QUANTUM_FRAMES, 6))
    return min(max(quanta * CONTEXT_QUANTUM_FRAMES, SHORTEST_CONTEXT_FRAMES), WINDOW_FRAMES)
