"""Windows in which nobody speaks: what keeps a tuned model from inventing words for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from whisper_peft.data.effects.recordings import RecordingFolder, open_recordings, read_mixed_down
from whisper_peft.data.effects.waveform_effects import draw_stretch
from whisper_peft.types import SAMPLING_RATE, WINDOW_S, Utterance, Waveform

Noise: TypeAlias = NDArray[np.float64]

SHORTEST_S = 1.0
"""Windows without speech last from here to 30 s, drawn evenly."""

LEVELS_DB = (-80.0, -25.0)
"""Level of made-up noise: from what a quiet line has to what speech itself seldom falls below."""

HUM_HZ = (50.0, 60.0)
"""Mains frequencies."""

SILENT_SHARE = 0.2
"""Made-up windows that are digital silence."""


class NoSpeech(Utterance):
    """A row without text and recording, which `Quiet` lets sound. Its id says what is drawn."""

    __slots__ = ()


def no_speech_row(rng: np.random.Generator, *, among: Sequence[Utterance]) -> NoSpeech:
    """Return a row in the language and task of one of others, of a length that is drawn too.

    What it sounds like is drawn later, from its id.

    Example:
        >>> row = no_speech_row(np.random.default_rng(0), among=[Utterance("a", b"", "Oui.", language="fr")])
        >>> row.text, row.language, 1 <= row.duration_s <= 30
        ('', 'fr', True)
    """
    like = among[int(rng.integers(len(among)))]
    return NoSpeech(
        f"no-speech-{rng.integers(2**63):016x}",
        b"",
        "",
        language=like.language,
        task=like.task,
        duration_s=float(rng.uniform(SHORTEST_S, WINDOW_S)),
    )


@dataclass(frozen=True)
class Quiet:
    """What is heard where nobody speaks.

    Args:
        folder: Recordings to cut it from. None: it is made up.
    """

    folder: RecordingFolder | None = None

    @classmethod
    def of(cls, folder: Path | None, setting: str = "targets.no_speech_source") -> Quiet:
        """Return the sounds of a folder, its recordings checked, or made-up ones.

        Args:
            folder: Searched with its subfolders. None: the sounds are made up.
            setting: The recipe's field that names it, for messages.

        Raises:
            DataError: If the folder is missing or empty, or holds what cannot be read.
        """
        return cls(None if folder is None else open_recordings(folder, setting, read_mixed_down))

    def __call__(self, row: NoSpeech, rng: np.random.Generator) -> Utterance:
        """Return the row as it sounds, drawn from the generator of its id."""
        samples = round((row.duration_s or SHORTEST_S) * SAMPLING_RATE)
        if self.folder is not None:
            return row.with_audio(draw_stretch(self.folder.draw(rng), samples, rng).copy())
        return row.with_audio(made_up(samples, rng))


def made_up(samples: int, rng: np.random.Generator) -> Waveform:
    """Return digital silence, or noise of some colour at some level.

    Example:
        >>> noise = made_up(16_000, np.random.default_rng(1))
        >>> noise.dtype, len(noise), bool(abs(noise).max() < 0.5)
        (dtype('float32'), 16000, True)
    """
    if rng.random() < SILENT_SHARE:
        return np.zeros(samples, np.float32)
    noise = _SOUNDS[rng.integers(len(_SOUNDS))](samples, rng)
    level = 10 ** (rng.uniform(*LEVELS_DB) / 20)
    scaled: Waveform = (noise * (level / np.sqrt(np.mean(np.square(noise))))).astype(np.float32)
    return scaled


def _coloured(slope: float) -> Callable[[int, np.random.Generator], Noise]:
    """Return noise whose power falls with frequency to the power of `slope`: 0 white, 1 pink, 2 brown."""

    def noise(samples: int, rng: np.random.Generator) -> Noise:
        spectrum = np.fft.rfft(rng.standard_normal(samples))
        frequencies = np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLING_RATE), 20.0)
        return np.fft.irfft(spectrum / frequencies ** (slope / 2), samples)

    return noise


def _hum(samples: int, rng: np.random.Generator) -> Noise:
    """Return mains hum with a few harmonics over faint white noise."""
    times = np.arange(samples) / SAMPLING_RATE
    mains = HUM_HZ[rng.integers(len(HUM_HZ))]
    hum = sum(rng.random() / order * np.sin(2 * np.pi * mains * order * times) for order in range(1, 6))
    return hum + 0.01 * rng.standard_normal(samples)


_SOUNDS = (_coloured(0.0), _coloured(1.0), _coloured(2.0), _hum)
