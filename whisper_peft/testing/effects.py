"""What every augmentation promises: it depends on its two arguments alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_peft.data.effects.augmentation import Effect
from whisper_peft.testing.promises import global_states, pickled, promise
from whisper_peft.types import SAMPLING_RATE, Waveform


def check_augmentation(effect: Effect, *, longest_stretch: float = 1.0) -> None:
    """Check that an effect depends on its two arguments alone and returns a waveform.

    It leaves its input as it was, draws from the given generator only, returns finite floats of one axis that
    are no longer than allowed, and can be sent to a worker process.

    Args:
        effect: A callable `(waveform, rng) -> waveform`.
        longest_stretch: How much longer it may make a waveform. Custom effects may not at all.

    Raises:
        AssertionError: With the first promise that is broken.

    Example:
        >>> def softer(waveform, rng):
        ...     waveform *= 0.5
        ...     return waveform
        >>> check_augmentation(softer)
        Traceback (most recent call last):
        AssertionError: an effect changed the waveform that it was given: return a new one
    """
    effect(np.zeros(SAMPLING_RATE, np.float32), np.random.default_rng(0))  # what it imports may draw
    for name, waveform in _waveforms().items():
        kept, state = waveform.copy(), global_states()
        first = np.asarray(effect(waveform, np.random.default_rng(1)))
        unchanged = np.array_equal(waveform, kept)
        promise(unchanged, "an effect changed the waveform that it was given: return a new one")
        _check_waveform(first, f"an effect, given {name},", most=math.ceil(len(waveform) * longest_stretch))
        drew = "an effect drew from a global generator: draw from the one that it is given"
        promise(global_states() == state, drew)
        again = np.asarray(effect(kept, np.random.default_rng(1)))
        differs = f"an effect, given {name} and a like generator twice, did not do the same"
        promise(np.array_equal(first, again), differs)
    pickled(effect, "an effect")


def _waveforms() -> dict[str, Waveform]:
    tone = np.sin(np.arange(2 * SAMPLING_RATE) / 20).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLING_RATE // 2 + 7).astype(np.float32)
    return {"a tone": tone, "noise": noise, "silence": np.zeros(SAMPLING_RATE, np.float32)}


def _check_waveform(waveform: NDArray[Any], given: str, *, most: int) -> None:
    is_waveform = waveform.ndim == 1 and waveform.dtype.kind == "f"
    shape = f"{waveform.dtype} of shape {waveform.shape}"
    promise(is_waveform, f"{given} returned {shape}: one axis of floats is needed")
    promise(0 < len(waveform) <= most, f"{given} returned {len(waveform)} samples, of at most {most}")
    promise(bool(np.isfinite(waveform).all()), f"{given} returned NaN or infinite samples")
