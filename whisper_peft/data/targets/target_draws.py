"""Which windows are learned with timestamps or previous text: a function of (seed, epoch, id)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from whisper_peft.data.randomness import utterance_rng
from whisper_peft.data.targets.labels import PLAIN, TargetKind
from whisper_peft.data.targets.neighbours import follows
from whisper_peft.recipe.sections import TargetSection
from whisper_peft.types import Utterance

_STREAM = "targets"
"""Separates these draws from those of augmentations and contexts."""


@dataclass(frozen=True, slots=True)
class TargetDraws:
    """Choose how each window is written.

    Args:
        section: The shares.
        seed: Seed of the run.

    Example:
        >>> draws = TargetDraws(TargetSection(timestamps=1.0), seed=0)
        >>> draws.kind([Utterance("a", b"", "text")], epoch=0)
        TargetKind(timestamps=True, previous_text=False)
    """

    section: TargetSection = field(default_factory=TargetSection)
    seed: int = 0

    def kind(self, window: Sequence[Utterance], *, epoch: int) -> TargetKind:
        """Return how a window of undecoded utterances is written."""
        if self.is_long_form(window):
            return TargetKind(timestamps=True, previous_text=True)
        section = self.section
        if not (section.timestamps or section.previous_text):
            return PLAIN
        timed, told = utterance_rng(self.seed, epoch, f"{_STREAM} {window[0].id}").random(2)
        return TargetKind(bool(timed < section.timestamps), bool(told < section.previous_text))

    def is_long_form(self, window: Sequence[Utterance]) -> bool:
        """Tell whether a window was made of neighbours."""
        joined = self.section.long_form > 0 and len(window) > 1
        return joined and all(follows(*pair) for pair in itertools.pairwise(window))
