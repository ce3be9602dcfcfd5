"""Clips in which nobody speaks, always the same: silence, noise, and something like music."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whisper_peft.data.targets.no_speech import Quiet, made_up
from whisper_peft.evaluation.probes.silence import quiet_clips
from whisper_peft.types import SAMPLING_RATE, Waveform

SEED = 20_221_206

KINDS = ("silence", "noise", "music")

CHORDS = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14))
"""Semitones above the key: the four chords that half of all songs are made of."""

BEATS_A_MINUTE = (70.0, 140.0)
BEATS_OF_A_CHORD = 4
PARTIALS = 6

MUSIC_LEVEL = 0.1
"""Root mean square of the music: as loud as speech."""


@dataclass(frozen=True, slots=True)
class SoundClip:
    """A clip without speech and what it is: silence, noise, music or recording."""

    kind: str
    waveform: Waveform


def sound_clips(count: int, quiet: Quiet) -> tuple[SoundClip, ...]:
    """Return so many clips of 5 to 30 s: silence, noise and music in turn.

    With a folder of recordings all but the music are cut from it.

    Args:
        count: Clips.
        quiet: Where sounds come from.

    Example:
        >>> [clip.kind for clip in sound_clips(4, Quiet())]
        ['silence', 'noise', 'music', 'silence']
    """
    rng = np.random.default_rng(SEED)
    cut = quiet_clips(count, quiet) if quiet.folder is not None else []
    clips = []
    for place in range(count):
        kind, samples = KINDS[place % len(KINDS)], int(rng.uniform(5, 30) * SAMPLING_RATE)
        if kind == "music":
            clips.append(SoundClip(kind, music(samples, rng)))
        elif cut:
            clips.append(SoundClip("recording", cut[place]))
        else:
            clips.append(SoundClip(kind, _silence(samples) if kind == "silence" else _noise(samples, rng)))
    return tuple(clips)


def music(samples: int, rng: np.random.Generator) -> Waveform:
    """Return plucked chords over a beat: a sound with pitch and rhythm in which nobody speaks or sings.

    Example:
        >>> tune = music(32_000, np.random.default_rng(0))
        >>> tune.dtype, len(tune), bool(np.abs(tune).max() <= 1)
        (dtype('float32'), 32000, True)
    """
    beat_s = 60 / rng.uniform(*BEATS_A_MINUTE)
    key_hz = 110 * 2 ** (rng.integers(12) / 12)
    times = np.arange(samples) / SAMPLING_RATE
    sound = np.zeros(samples)
    for beat in range(int(times[-1] / beat_s) + 1):
        since = times - beat * beat_s
        heard = since >= 0
        decay = np.where(heard, np.exp(-3 * np.maximum(since, 0)), 0)
        chord = CHORDS[beat // BEATS_OF_A_CHORD % len(CHORDS)]
        note_hz = key_hz * 2 ** (chord[rng.integers(len(chord))] / 12)
        for partial in range(1, PARTIALS + 1):
            sound += decay * np.sin(2 * np.pi * note_hz * partial * since) / partial**1.5
        sound += 0.3 * np.where(heard, np.exp(-60 * np.maximum(since, 0)), 0) * rng.standard_normal(samples)
    level = MUSIC_LEVEL / np.sqrt(np.mean(np.square(sound)))
    scaled: Waveform = np.clip(sound * level, -1, 1).astype(np.float32)
    return scaled


def _silence(samples: int) -> Waveform:
    return np.zeros(samples, np.float32)


def _noise(samples: int, rng: np.random.Generator) -> Waveform:
    """Return made-up noise that is not digital silence."""
    while True:
        noise = made_up(samples, rng)
        if noise.any():
            return noise
