"""Recordings inside a page: as small as speech stays clear, within a budget, and their pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from whisper_peft.types import Waveform

AUDIO_BUDGET_BYTES = 8 * 2**20
"""Compressed speech that a page holds, some 35 minutes; written as text it takes a third more."""

MOST_FRAMES = 500
"""Width of the picture of a long recording in dots; a shorter one has a dot for each 10 ms."""

BANDS, SHADES = 100, 16
"""Height of a picture, each dot being 80 Hz, and its colours: some 1.2 kB for a second of speech."""

FLOOR_DB = 60.0
"""Loudness below the loudest that is black."""

WINDOW, HOP = 400, 160
"""Samples of a window and between two of them: 25 and 10 ms, as Whisper listens."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording as MP3, and its spectrogram as PNG where it has one."""

    audio: bytes
    picture: bytes | None = None

    @property
    def audio_uri(self) -> Markup:
        """The recording as a data URI."""
        return data_uri("audio/mpeg", self.audio)

    @property
    def picture_uri(self) -> Markup | None:
        """The spectrogram as a data URI."""
        return None if self.picture is None else data_uri("image/png", self.picture)


@dataclass(frozen=True, slots=True)
class Recordings:
    """What a page can play.

    Attributes:
        scored: Recordings of the scored utterances, by the names that the page gives them.
        suspects: Those of training rows that stand out, by id.
        notes: What cannot be played, and why.
    """

    scored: Mapping[str, Clip] = field(default_factory=dict)
    suspects: Mapping[str, Clip] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


NO_RECORDINGS = Recordings()


def spectrogram_picture(waveform: Waveform) -> bytes:
    """Return a PNG of loudness by time and frequency, 0 to 8 kHz upwards.

    Example:
        >>> spectrogram_picture(np.ones(16_000, np.float32))[1:4]
        b'PNG'
    """
    return shaded_picture(_loudness(waveform) / FLOOR_DB + 1)


def shaded_picture(levels: NDArray[np.floating[Any]]) -> bytes:
    """Return a PNG of values from 0 to 1, dark to bright; the first row is the lowest.

    Example:
        >>> shaded_picture(np.eye(8))[1:4]
        b'PNG'
    """
    # Imported here because the terminal reads this room too and draws nothing.
    from matplotlib import colormaps
    from PIL import Image

    shades = np.round(levels[::-1].clip(0, 1) * (SHADES - 1))
    picture = Image.fromarray(shades.astype(np.uint8))
    colours = colormaps["magma"](np.linspace(0, 1, SHADES))[:, :3]
    picture.putpalette((colours * 255).astype(np.uint8).tobytes())
    target = io.BytesIO()
    picture.save(target, format="PNG", optimize=True)
    return target.getvalue()


def _loudness(waveform: Waveform) -> NDArray[np.float64]:
    """Return decibels below the loudest, shape `(bands, frames)`."""
    padded = np.pad(waveform, (0, max(WINDOW - len(waveform), 0)))
    hop = max(HOP, len(padded) // MOST_FRAMES)
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::hop] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(windows, axis=1)[:, : 2 * BANDS]) ** 2
    bands = power.reshape(len(power), BANDS, 2).mean(axis=2)
    decibels: NDArray[np.float64] = 10 * np.log10(np.maximum(bands, 1e-10)).T
    decibels -= decibels.max()
    return decibels


def data_uri(kind: str, content: bytes) -> Markup:
    """Return bytes as an address of a page.

    Example:
        >>> data_uri("image/png", b"picture")
        Markup('data:image/png;base64,cGljdHVyZQ==')
    """
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}")
