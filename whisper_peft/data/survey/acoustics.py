"""What a recording's samples tell about its quality: silence, clipping and noise, each by a plain rule.

The signal-to-noise ratio is told from the energies of 10 ms frames: the quietest tenth holds the noise alone,
since speech pauses. Added noise is found within about a decibel between 0 and 20 dB where it is steady; noise
that comes and goes is estimated too high, and so is a recording that hardly pauses too low
(docs/results/inspection.md, which also has WADA-SNR, Kim & Stern 2008, beside it).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whisper_peft.data.audio.decoding import resampled
from whisper_peft.data.survey.likeness import UNLIKE, Likeness, sound_likeness
from whisper_peft.types import SAMPLING_RATE, Waveform

FRAME = SAMPLING_RATE // 100
"""Samples of a frame: 10 ms."""

SMOOTHED_FRAMES = 3
"""Frames that an energy is averaged over: 30 ms hold a period of any voice."""

NOISE_PERCENTILE = 10
"""The frames below this percentile of energy are taken for noise."""

SILENCE_DB = 40.0
"""Frames this far below the loudest are silent, as pauses between words are in clean speech."""

PLATEAU = 0.99
"""Samples from this share of the peak on may be cut off, and are if"""

PLATEAU_SAMPLES = 3
"""so many follow each other at it (a lone peak of speech has one or two), and"""

PLATEAU_CROWD = 3
"""so many times as many samples lie there as just below: at the crest of a sine it is 1.4 times."""

LEAST_OFFSET = 0.002
"""A mean closer to zero than this, of full scale, is left as it is: digital silence stays silence."""


@dataclass(frozen=True, slots=True)
class Acoustics:
    """Quality of one recording.

    Attributes:
        silence_share: Frames over 40 dB below the loudest, of all.
        clipping_share: Samples on plateaus at the peak, of all.
        snr_db: Estimated signal-to-noise ratio; None where there is no noise to measure.
        offset: Mean of the samples, which a recorder with a fault moves away from zero.
        likeness: What nearly equal recordings share.
        digest: 16 bytes that equal recordings share.
    """

    duration_s: float
    silence_share: float
    clipping_share: float
    snr_db: float | None
    digest: bytes
    offset: float = 0.0
    likeness: Likeness = UNLIKE


def measure_acoustics(samples: NDArray[np.float32], rate: int = SAMPLING_RATE) -> Acoustics:
    """Measure a recording: clipping at its own rate, as resampling rounds what was cut off.

    Example:
        >>> tone = np.sin(np.arange(16_000) / 10).astype(np.float32)
        >>> quality = measure_acoustics(np.concatenate([tone, np.zeros(16_000, np.float32)]))
        >>> round(quality.silence_share, 1), quality.clipping_share
        (0.5, 0.0)
    """
    waveform = resampled(samples, rate)
    energies = frame_energies(_without_offset(waveform))
    return Acoustics(
        duration_s=len(waveform) / SAMPLING_RATE,
        silence_share=float((energies <= energies.max() * 10 ** (-SILENCE_DB / 10)).mean()),
        clipping_share=clipping_share(samples),
        snr_db=snr_db(energies),
        digest=content_digest(waveform),
        offset=float(waveform.mean()),
        likeness=sound_likeness(waveform),
    )


def signal_to_noise_db(waveform: Waveform) -> float | None:
    """Estimate the signal-to-noise ratio of a recording at 16 kHz; None where there is no noise to measure.

    Example:
        >>> signal_to_noise_db(np.zeros(16_000, np.float32)) is None
        True
    """
    return snr_db(frame_energies(_without_offset(waveform)))


def _without_offset(waveform: Waveform) -> Waveform:
    offset = float(waveform.mean())
    return waveform - np.float32(offset if abs(offset) > LEAST_OFFSET else 0.0)


def frame_energies(waveform: Waveform) -> NDArray[np.float64]:
    """Return the mean square of each 10 ms, averaged with its neighbours; shape `(frames,)`."""
    frames = max(len(waveform) // FRAME, 1)
    whole = np.resize(waveform, frames * FRAME) if len(waveform) < FRAME else waveform[: frames * FRAME]
    blocks = whole.reshape(frames, -1)
    energies = np.einsum("ij,ij->i", blocks, blocks).astype(np.float64) / FRAME
    width = min(SMOOTHED_FRAMES, frames)
    smoothed: NDArray[np.float64] = np.convolve(energies, np.full(width, 1 / width), mode="same")
    return smoothed


def snr_db(energies: NDArray[np.float64]) -> float | None:
    """Estimate the signal-to-noise ratio from frame energies; digital silence says nothing of the noise.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> half = np.concatenate([np.zeros(16_000), 10 * rng.normal(size=16_000)])
        >>> noisy = (half + rng.normal(size=32_000)).astype(np.float32)
        >>> round(snr_db(frame_energies(noisy)) or 0)
        17
    """
    heard = energies[energies > 0]
    if len(heard) < 100 // NOISE_PERCENTILE:
        return None
    noise = float(np.percentile(heard, NOISE_PERCENTILE))
    speech = max(float(heard.mean()) - noise, 1e-3 * noise)
    return float(10 * np.log10(speech / noise))


def clipping_share(samples: NDArray[np.float32]) -> float:
    """Return the share of samples that are cut off at the peak, at the recording's own rate.

    Example:
        >>> tone = np.sin(np.arange(16_000) / 10)
        >>> clipping_share(np.clip(tone, -0.5, 0.5).astype(np.float32)) > 0.5
        True
    """
    levels = np.abs(samples)
    peak = float(levels.max(initial=0.0))
    at_peak = levels >= PLATEAU * peak
    below = int(((levels >= (2 * PLATEAU - 1) * peak) & ~at_peak).sum())
    if peak == 0 or int(at_peak.sum()) < PLATEAU_CROWD * below:
        return 0.0
    changes = np.flatnonzero(np.diff(np.concatenate([[False], at_peak, [False]]).astype(np.int8)))
    runs = changes[1::2] - changes[::2]
    return float(runs[runs >= PLATEAU_SAMPLES].sum() / len(samples))


def content_digest(waveform: Waveform) -> bytes:
    """Return 16 bytes that recordings share when they are equal to 16 bits, whatever file they lie in."""
    samples = np.round(waveform * 2**15).astype("<i4")
    return hashlib.blake2b(samples.tobytes(), digest_size=16).digest()
