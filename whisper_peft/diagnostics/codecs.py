"""Formats of recordings: each is written and read back."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from whisper_peft.data.audio.decoding import decode
from whisper_peft.diagnostics.checks import Attempt
from whisper_peft.types import SAMPLING_RATE, Utterance, Waveform

_TONE_HZ = 440
_FFMPEG_TIMEOUT_S = 10.0


def _tone() -> Waveform:
    times = np.arange(SAMPLING_RATE) / SAMPLING_RATE
    return (0.5 * np.sin(2 * np.pi * _TONE_HZ * times)).astype(np.float32)


def _by_soundfile(container: str, coding: str | None) -> str:
    file = io.BytesIO()
    soundfile.write(file, _tone(), SAMPLING_RATE, format=container, subtype=coding)
    return _heard(decode(Utterance("tone", file.getvalue(), "")).waveform)


def _by_ffmpeg() -> str:
    ffmpeg = which("ffmpeg")
    if ffmpeg is None:
        raise FileNotFoundError("there is no ffmpeg, which reads m4a, aac, wma, webm and amr")
    with TemporaryDirectory(prefix="whisper-peft-") as folder:
        file = Path(folder) / "tone.m4a"
        raw = ["-f", "f32le", "-ar", str(SAMPLING_RATE), "-ac", "1", "-i", "-"]
        command = [ffmpeg, "-v", "error", *raw, "-c:a", "aac", str(file)]
        subprocess.run(
            command, input=_tone().tobytes(), capture_output=True, check=True, timeout=_FFMPEG_TIMEOUT_S
        )
        return _heard(decode(Utterance("tone", file, "")).waveform)


def _heard(waveform: Waveform) -> str:
    """Return that a tone came back as it was.

    Raises:
        ValueError: If it is another sound, or another length.
    """
    seconds = len(waveform) / SAMPLING_RATE
    frequency = int(np.abs(np.fft.rfft(waveform)).argmax()) / seconds
    if abs(frequency - _TONE_HZ) > 2 or abs(seconds - 1) > 0.2:
        raise ValueError(
            f"a tone of {_TONE_HZ} Hz and 1 s came back as {frequency:.0f} Hz and {seconds:.2f} s"
        )
    return "a tone written and read back"


_SOUNDFILE_TODO = "pip install --upgrade soundfile"
_CONVERTED = ("soundfile", "convert recordings to WAV")

ATTEMPTS: Mapping[str, Attempt] = {
    "flac": Attempt(partial(_by_soundfile, "FLAC", "PCM_16"), _SOUNDFILE_TODO, *_CONVERTED),
    "wav": Attempt(partial(_by_soundfile, "WAV", "PCM_16"), _SOUNDFILE_TODO, "soundfile"),
    "mp3": Attempt(partial(_by_soundfile, "MP3", None), _SOUNDFILE_TODO, *_CONVERTED),
    "ogg": Attempt(partial(_by_soundfile, "OGG", "VORBIS"), _SOUNDFILE_TODO, *_CONVERTED),
    "m4a": Attempt(_by_ffmpeg, "install ffmpeg with its aac coder", "audioread", _CONVERTED[1]),
}
"""By the ending of their files."""
