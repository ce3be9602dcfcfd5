"""SpecAugment (Park et al., 2019): which cells of a log-mel spectrogram are hidden.

Masks stay within the real length: a share of 30 s would hide most of a short utterance, and masks in the
padding would hide nothing. Masked cells take the clip's mean and not the floor, because the floor is what
silence looks like, and a model that learns to write words over silence hallucinates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whisper_peft.recipe.sections import SpecAugment


def draw_masks(
    num_mel_bins: int, frames: int, real_frames: int, section: SpecAugment, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return which cells are kept, shape `(num_mel_bins, frames)`; all of them with probability 1 - p.

    Args:
        num_mel_bins: Height of the spectrogram.
        frames: Width of the spectrogram, padding included.
        real_frames: Frames that hold speech; the rest is never masked.
        section: Number and width of the masks.
        rng: The utterance's own generator.

    Example:
        >>> section = SpecAugment(p=1, time_masks=1, time_mask_share=0.5, frequency_masks=0)
        >>> keep = draw_masks(80, 300, 100, section, np.random.default_rng(2))
        >>> int((~keep).sum(axis=1)[0]), bool(keep[:, 100:].all())
        (5, True)
    """
    keep = np.ones((num_mel_bins, frames), dtype=bool)
    if rng.random() >= section.p:
        return keep
    for _ in range(section.time_masks):
        keep[:, _draw_span(real_frames, int(section.time_mask_share * real_frames), rng)] = False
    for _ in range(section.frequency_masks):
        keep[_draw_span(num_mel_bins, section.frequency_mask_bins, rng), :real_frames] = False
    return keep


def _draw_span(length: int, widest: int, rng: np.random.Generator) -> slice:
    width = int(rng.integers(min(widest, length), endpoint=True))
    start = int(rng.integers(length - width, endpoint=True))
    return slice(start, start + width)
