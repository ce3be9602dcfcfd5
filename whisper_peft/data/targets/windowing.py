"""Which utterances are heard together: alone, stitched, as neighbours; and windows where nobody speaks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whisper_peft.data.targets.neighbours import join_neighbours
from whisper_peft.data.targets.no_speech import no_speech_row
from whisper_peft.data.targets.stitching import stitch
from whisper_peft.types import Utterance


@dataclass(frozen=True, slots=True)
class Windowing:
    """Make windows of the rows of a pool: what the encoder hears in one piece.

    Args:
        stitched: Whether utterances share windows of up to 30 s.
        longest_stretch: How much longer augmentation may make an utterance, at least 1.
        long_form: Share of windows of neighbouring utterances that are heard in one piece.
        no_speech: Windows without speech that are added, as a share of the others.

    Example:
        >>> rows = [Utterance(str(n), b"", "text", duration_s=2.0) for n in range(10)]
        >>> len(Windowing(no_speech=0.2)(rows, np.random.default_rng(0)))
        12
    """

    stitched: bool = False
    longest_stretch: float = 1.0
    long_form: float = 0.0
    no_speech: float = 0.0

    def __call__(self, pool: Sequence[Utterance], rng: np.random.Generator) -> list[tuple[Utterance, ...]]:
        """Return the windows of shuffled rows, shuffled; without targets to add, `rng` is left as it is.

        Args:
            pool: Undecoded utterances with `duration_s`, at least one.
            rng: Draws what is joined and added.
        """
        windows: list[tuple[Utterance, ...]] = []
        rows = pool
        if self.long_form:
            windows, rows = join_neighbours(
                pool, rng, share=self.long_form, longest_stretch=self.longest_stretch
            )
        windows += stitch(rows, self.longest_stretch) if self.stitched else [(row,) for row in rows]
        added = math.floor(self.no_speech * len(windows) + rng.random()) if self.no_speech else 0
        windows += [(no_speech_row(rng, among=pool),) for _ in range(added)]
        drawn = bool(self.long_form or self.no_speech)
        return [windows[place] for place in rng.permutation(len(windows))] if drawn else windows
