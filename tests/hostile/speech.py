"""Real speech that hostile inputs are made from, and how it is stored."""

from __future__ import annotations

import functools
import io
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

PROMPTS = Path(__file__).parents[1] / "data" / "prompts" / "en"
RATE = 16_000


@dataclass(frozen=True)
class Spoken:
    """A row that has to come out: its text to the letter, its samples within a tolerance.

    `tolerance` is of the root mean square of the difference, relative to the speech; 0 means to the bit.
    """

    text: str
    samples: NDArray[np.float32]
    tolerance: float = 0.0


@functools.cache
def prompts() -> tuple[tuple[str, Path], ...]:
    """Return text and file of the prompts of 2 to 4 s."""
    lines = (PROMPTS / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for line in lines if 2 <= (row := json.loads(line))["duration_s"] <= 4]
    return tuple((row["text"], PROMPTS / row["file_name"]) for row in rows)


@functools.cache
def samples(number: int = 0) -> NDArray[np.float32]:
    """Return the samples of a prompt at 16 kHz."""
    return soundfile.read(prompts()[number][1], dtype="float32")[0]


@functools.cache
def flac(number: int = 0) -> bytes:
    """Return a prompt as it is stored."""
    return prompts()[number][1].read_bytes()


def encoded(
    audio: NDArray[Any] | None = None, form: str = "WAV", coding: str | None = None, rate: int = RATE
) -> bytes:
    """Return samples, or the first prompt, in a format."""
    stream = io.BytesIO()
    soundfile.write(stream, samples() if audio is None else audio, rate, format=form, subtype=coding)
    return stream.getvalue()


def flipped(content: bytes, start: float, end: float, *, bits: int, seed: int = 0) -> bytes:
    """Flip bits at random places between two shares of the content."""
    rng, damaged = random.Random(seed), bytearray(content)
    for _ in range(bits):
        damaged[rng.randrange(int(len(content) * start), int(len(content) * end))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def patched(content: bytes, place: int, value: bytes) -> bytes:
    """Write other bytes over those at a place."""
    return content[:place] + value + content[place + len(value) :]


def good_rows() -> tuple[Spoken, ...]:
    """Return the rows that lie beside each hostile input and must come out as they are."""
    return tuple(Spoken(prompts()[number][0], samples(number)) for number in (1, 2))


def write_good_recordings(folder: Path) -> list[dict[str, str]]:
    """Write the recordings of the good rows and return their rows."""
    rows = []
    for number in (1, 2):
        (folder / f"good-{number}.flac").write_bytes(flac(number))
        rows.append({"file_name": f"good-{number}.flac", "text": prompts()[number][0]})
    return rows
