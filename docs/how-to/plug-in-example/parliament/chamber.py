"""An augmentation: the echo of a chamber."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whisper_peft.types import SAMPLING_RATE


def in_chamber(waveform: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the speech with one echo, 20 to 60 ms later and softer; nothing is added at its end."""
    delay = int(rng.uniform(0.02, 0.06) * SAMPLING_RATE)
    heard = waveform.copy()
    heard[delay:] += np.float32(rng.uniform(0.1, 0.4)) * waveform[:-delay]
    return heard
