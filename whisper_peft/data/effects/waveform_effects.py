"""Effects on a waveform at 16 kHz. Each returns a new float32 array and leaves its input as it was."""

from __future__ import annotations

import librosa
import numpy as np
import soxr
from scipy import signal

from whisper_peft.types import SAMPLING_RATE, WINDOW_S, Waveform

PITCH_FFT = 1024
"""Window of the phase vocoder: 64 ms, a few periods of any voice, and shorter than most phones."""

LONGEST_SAMPLES = int(WINDOW_S * SAMPLING_RATE)


def add_noise(waveform: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Return speech with noise of the same length at a signal-to-noise ratio.

    The ratio is that of the mean powers of the whole clip, pauses included, and of the noise that is added
    (as torchaudio's `add_noise`). Where either is silent no ratio exists, and nothing is added.

    Example:
        >>> speech, hiss = np.ones(4, np.float32), np.float32([2, -2, 2, -2])
        >>> add_noise(speech, hiss, 0.0)
        array([2., 0., 2., 0.], dtype=float32)
    """
    speech_power, noise_power = _power(waveform), _power(noise)
    if speech_power == 0 or noise_power == 0:
        return waveform.copy()
    scale = np.sqrt(speech_power / noise_power) * 10 ** (-snr_db / 20)
    return waveform + np.float32(scale) * noise


def draw_stretch(recording: Waveform, samples: int, rng: np.random.Generator) -> Waveform:
    """Return so many samples of a recording from a random place, repeating it where it is too short.

    Example:
        >>> draw_stretch(np.float32([1, 2]), 5, np.random.default_rng(0))
        array([2., 1., 2., 1., 2.], dtype=float32)
    """
    if len(recording) < samples:
        return np.resize(np.roll(recording, -rng.integers(len(recording))), samples)
    start = rng.integers(len(recording) - samples, endpoint=True)
    return recording[start : start + samples]


def reverberate(waveform: Waveform, impulse_response: Waveform) -> Waveform:
    """Return speech in a room: same length, same level, same timing.

    The direct path, the response's largest sample, lands where the dry sound was, so that word times hold.
    The level is the root mean square.

    Example:
        >>> reverberate(np.float32([1, 0]), np.float32([0, 0, 1, 0.5])).round(2)
        array([0.89, 0.45], dtype=float32)
    """
    direct = int(np.argmax(np.abs(impulse_response)))
    wet = signal.oaconvolve(waveform, impulse_response)[direct:][: len(waveform)]
    return _at_level_of(waveform, wet)


def change_speed(waveform: Waveform, factor: float) -> Waveform:
    """Return speech played `factor` times as fast, unless it would outgrow Whisper's 30 s window.

    Example:
        >>> len(change_speed(np.zeros(16_000, np.float32), 1.25))
        12800
    """
    if round(len(waveform) / factor) > LONGEST_SAMPLES:
        return waveform.copy()
    resampled: Waveform = soxr.resample(waveform, SAMPLING_RATE * factor, SAMPLING_RATE, quality="HQ")
    return resampled


def shift_pitch(waveform: Waveform, semitones: float) -> Waveform:
    """Return speech higher or lower by so many semitones at the same tempo and level.

    The phase vocoder alone would make it about 4 dB softer.

    Example:
        >>> len(shift_pitch(np.zeros(16_000, np.float32), 2.0))
        16000
    """
    padded = librosa.util.fix_length(waveform, size=max(len(waveform), PITCH_FFT))
    shifted = librosa.effects.pitch_shift(padded, sr=SAMPLING_RATE, n_steps=semitones, n_fft=PITCH_FFT)
    return _at_level_of(waveform, shifted[: len(waveform)])


def change_gain(waveform: Waveform, gain_db: float) -> Waveform:
    """Return speech louder or softer, clipped at full scale.

    Example:
        >>> change_gain(np.float32([0.01, 0.5]), 20.0).round(3)
        array([0.1, 1. ], dtype=float32)
    """
    louder: Waveform = np.clip(waveform * np.float32(10 ** (gain_db / 20)), -1, 1)
    return louder


def _at_level_of(waveform: Waveform, changed: Waveform) -> Waveform:
    power = _power(changed)
    scale = np.sqrt(_power(waveform) / power) if power > 0 else 0.0
    return (changed * np.float32(scale)).astype(np.float32, copy=False)


def _power(waveform: Waveform) -> float:
    return float(np.mean(np.square(waveform, dtype=np.float64)))
