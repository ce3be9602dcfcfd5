"""What a telephone line leaves of speech: 300 to 3400 Hz, 8 kHz, and a codec."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy import signal

from whisper_peft.types import SAMPLING_RATE, Waveform

LINE_RATE = 8_000
"""Samples per second on the line (ITU-T G.711)."""

BAND_HZ = (300, 3400)
"""Voice band of the analogue network (ITU-T G.712)."""

BAND_TAPS = 257
"""Taps of the band-pass: its edges are about 3.3 / 257 * 8000 = 100 Hz wide."""

CODECS = {"mu-law": "ULAW", "a-law": "ALAW", "gsm": "GSM610", "adpcm": "IMA_ADPCM"}
"""libsndfile's names: G.711 mu-law and A-law at 64 kbit/s, GSM 06.10 at 13, IMA ADPCM at 32."""


def telephone(waveform: Waveform, codec: str) -> Waveform:
    """Return speech as heard over a telephone line: same length, same timing, at 16 kHz again.

    Args:
        waveform: Speech at 16 kHz.
        codec: mu-law, a-law, gsm, adpcm, or none for the band alone.

    Example:
        >>> hum = np.sin(2 * np.pi * 50 * np.arange(16_000) / 16_000).astype(np.float32)
        >>> bool(np.abs(telephone(hum, "none")[1000:-1000]).max() < 0.01)
        True
    """
    line = soxr.resample(waveform, SAMPLING_RATE, LINE_RATE, quality="HQ")
    line = signal.oaconvolve(line, _band_pass(), mode="full")[BAND_TAPS // 2 :][: len(line)]
    line = np.clip(line, -1, 1).astype(np.float32)
    if codec != "none":
        line = _through_codec(line, CODECS[codec])
    heard = soxr.resample(line, LINE_RATE, SAMPLING_RATE, quality="HQ")
    return _with_length(heard, len(waveform))


@cache
def _band_pass() -> NDArray[np.float32]:
    taps: NDArray[np.float32] = signal.firwin(BAND_TAPS, BAND_HZ, pass_zero="bandpass", fs=LINE_RATE).astype(
        np.float32
    )
    return taps


def _through_codec(line: Waveform, subtype: str) -> Waveform:
    encoded = io.BytesIO()
    soundfile.write(encoded, line, LINE_RATE, format="WAV", subtype=subtype)
    encoded.seek(0)
    decoded: Waveform = soundfile.read(encoded, dtype="float32")[0]
    return decoded[: len(line)]


def _with_length(waveform: Waveform, samples: int) -> Waveform:
    """Cut or pad the odd sample that two rate changes may add or lose."""
    fitted = np.zeros(samples, dtype=np.float32)
    fitted[: len(waveform)] = waveform[:samples]
    return fitted
