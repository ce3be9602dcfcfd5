"""What nearly equal contents share: a recording coded anew or made louder, a sentence with a word changed.

Each content is told by a code that changes little when the content does, and by keys of several parts of it.
Two contents that share a key are compared by their whole codes. So nobody compares all pairs, and the index
of the keys is bounded as that of equal contents is (locality-sensitive hashing; Indyk & Motwani, 1998).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from whisper_peft.data.survey.contents import ContentIndex, FirstPlace
from whisper_peft.types import SAMPLING_RATE, Waveform

STRETCHES, BANDS_HZ = 17, tuple(300 * (3400 / 300) ** (number / 9) for number in range(10))
"""Stretches of a recording, and bounds of nine bands that a telephone passes on too. What rises more than the
next band from a stretch to the next gives a one: 16 x 8 bits (after Haitsma & Kalker, 2002)."""

SPECTRUM_SAMPLES, HOP_SAMPLES = 512, 256
"""Of each short spectrum: 32 ms, every 16 ms."""

LEAST_SOUND_S = 0.5
"""A shorter recording has no code: its stretches would hold a spectrum or two."""

LENGTH_S = 0.5
"""Recordings are compared if they are about as long: MP3 adds some 50 ms."""

SOUND_BITS_APART = 0.125
"""Of the bits. Vorbis and MP3 change less than 0.09, other recordings are 0.5 ± 0.05 apart; prompts that a
telephone exchange put together from the same words are from 0.2 on."""

GRAM, MINIMA = 4, 16
"""Letters of a piece of a sentence, and pieces that it is told by: of the least hashes (Broder, 1997)."""

LEAST_LETTERS = 20
"""Shorter sentences have no code: they are alike by chance."""

SENTENCE_PARTS_APART = 0.4
"""Of the pieces; one word in eight changed leaves about 0.25, other sentences over 0.9."""

MOST_KEYS = 125_000
"""Keys of an index: about 30 MB. Eight of a content are followed as long as there is room for all."""

_FACTORS = np.random.default_rng(0).integers(1, 2**63, MINIMA, dtype=np.uint64) | np.uint64(1)


@dataclass(frozen=True, slots=True)
class Likeness:
    """Keys of which nearly equal contents share some, and a code of which they share most."""

    keys: tuple[bytes, ...] = ()
    code: bytes = b""


UNLIKE = Likeness()
"""Of contents too short to be told apart, or not known: like no other."""


@dataclass
class LikenessIndex:
    """The first place of contents, found again by those that are nearly equal.

    Args:
        apart: How far two codes are from each other, from 0 to 1.
        most_apart: What is still nearly equal.

    Example:
        >>> index = LikenessIndex(parts_apart, most_apart=0.4)
        >>> index.add(sentence_likeness("The boats went out at six in the morning."), "a", 0)
        >>> index.add(sentence_likeness("The boats went out at six in the mornings."), "b", 1).row_id
        'a'
    """

    apart: Callable[[bytes, bytes], float]
    most_apart: float
    _keys: ContentIndex = field(default_factory=lambda: ContentIndex(MOST_KEYS))

    def add(self, likeness: Likeness, row_id: str, split: int) -> FirstPlace | None:
        """Note where a content lies; return the first row with one that is nearly equal, if there was one."""
        met = [self._keys.add(key, row_id, split, note=likeness.code) for key in likeness.keys]
        near = (place for place in met if place and self.apart(place.note, likeness.code) <= self.most_apart)
        return next(near, None)


def sound_index() -> LikenessIndex:
    """Return an empty index of recordings."""
    return LikenessIndex(bits_apart, SOUND_BITS_APART)


def sentence_index() -> LikenessIndex:
    """Return an empty index of sentences."""
    return LikenessIndex(parts_apart, SENTENCE_PARTS_APART)


def bits_apart(one: bytes, other: bytes) -> float:
    """Return the share of bits that differ.

    Example:
        >>> bits_apart(bytes([15]), bytes([14]))
        0.125
    """
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count() / (8 * len(one))


def parts_apart(one: bytes, other: bytes) -> float:
    """Return the share of bytes that differ.

    Example:
        >>> parts_apart(b"abcd", b"abca")
        0.25
    """
    return sum(first != second for first, second in zip(one, other, strict=True)) / len(one)


def sound_likeness(waveform: Waveform) -> Likeness:
    """Return what a recording shares with itself at another loudness, in another coding, from a telephone.

    Example:
        >>> noise = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
        >>> sound_likeness(noise) == sound_likeness(noise / 2)
        True
    """
    seconds = len(waveform) / SAMPLING_RATE
    if seconds < LEAST_SOUND_S:
        return UNLIKE
    loudness = np.array([part.mean(axis=0) for part in np.array_split(_band_loudness(waveform), STRETCHES)])
    rises = np.diff(np.diff(loudness, axis=1), axis=0) > 0
    code = np.packbits(rises.ravel()).tobytes()
    slices = [code[start : start + 2] for start in range(0, len(code), 2)]
    # a recording near the bound of two lengths is found by the keys of both
    lengths = {round(seconds / LENGTH_S + nudge) for nudge in (-0.2, 0.2)}
    keys = (f"{length} {number} ".encode() + bits for length in lengths for number, bits in enumerate(slices))
    return Likeness(tuple(map(_digest, sorted(keys))), code)


def _band_loudness(waveform: Waveform) -> NDArray[np.float32]:
    """Return the magnitude of each band in each short spectrum, shape `(spectra, 9)`."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, SPECTRUM_SAMPLES)[::HOP_SAMPLES]
    spectra = np.abs(np.fft.rfft(frames * np.hanning(SPECTRUM_SAMPLES).astype(np.float32)))
    places = [round(hertz * SPECTRUM_SAMPLES / SAMPLING_RATE) for hertz in BANDS_HZ]
    summed: NDArray[np.float32] = np.add.reduceat(spectra[:, : places[-1]], places[:-1], axis=1)
    return summed


def sentence_likeness(words: str) -> Likeness:
    """Return what a sentence shares with one of nearly the same words; both in one case, without punctuation.

    Example:
        >>> near = [sentence_likeness(f"the boats went out {word} six") for word in ("at", "by")]
        >>> parts_apart(near[0].code, near[1].code) < 0.6
        True
    """
    if len(words) < LEAST_LETTERS:
        return UNLIKE
    letters = np.frombuffer(words.encode("utf-32-le", "replace"), np.uint32).astype(np.uint64)
    pieces = np.lib.stride_tricks.sliding_window_view(letters, GRAM) @ _FACTORS[:GRAM]
    least = ((pieces ^ (pieces >> np.uint64(29)))[:, None] * _FACTORS).min(axis=0)
    pairs = (least[at : at + 2].tobytes() for at in range(0, MINIMA, 2))
    keys = (f"{number} ".encode() + pair for number, pair in enumerate(pairs))
    return Likeness(tuple(map(_digest, keys)), (least % np.uint64(251)).astype(np.uint8).tobytes())


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
