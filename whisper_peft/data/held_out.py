"""A seeded tenth of the rows, held out for scoring where a corpus brings no split of its own.

Whole speakers are held out where that comes to about a tenth, else whole sentences. Stretches of longer
recordings always stay together: neighbours share their voices, their room and their subject. There the choice
is by speaker only where no recording has several, else by recording.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from whisper_peft.errors import DataError
from whisper_peft.types import Utterance

HOLD_OUT_SEED = 42
"""Not the training seed, so that runs with several seeds are scored on the same rows."""

SHARE = 0.1
"""Share of the rows that is held out; at least one row."""

_PEEK = 1_000
"""Rows of a stream that are looked at; a longer stream is parted by a hash of each row."""

_MANY_SPEAKERS = 20
"""Distinct speakers from which on a stream is parted by speaker: a tenth of fewer is too uneven."""


Key: TypeAlias = Literal["speaker", "recording", "sentence"]
"""What utterances have in common that are held out together."""


@dataclass(frozen=True, slots=True)
class HoldOut:
    """A rule that tells held-out rows from the rest: all rows of a key go the same way."""

    by: Key
    seed: int
    below: float
    """Keys whose seeded hash in [0, 1) is below this are held out."""
    never: frozenset[str] = frozenset()
    """Keys that stay in training although their hash is below: they would hold out too much."""
    root: str = ""
    """The folder that recordings are named from, so that another machine holds out the same ones."""

    def __call__(self, utterance: Utterance) -> bool:
        """Tell whether the utterance is held out."""
        key = _key(utterance, self.by, self.root)
        return key not in self.never and _position(key, self.seed) < self.below


def choose_hold_out(utterances: Iterable[Utterance], *, is_stream: bool, seed: int, source: str) -> HoldOut:
    """Choose what to hold out: speakers where that comes to about a tenth, else recordings or sentences.

    Raises:
        DataError: If there are not two different sentences, or recordings, to part.

    Example:
        >>> rows = [Utterance(str(n), b"", f"sentence {n}") for n in range(20)]
        >>> rule = choose_hold_out(rows, is_stream=False, seed=42, source="a list")
        >>> rule.by, sum(map(rule, rows))
        ('sentence', 2)
    """
    seen = _look_through(itertools.islice(utterances, _PEEK) if is_stream else utterances)
    fallback: Key = "recording" if seen.has_stretches else "sentence"
    if len(seen.rows[fallback]) < 2:
        why = f"it has {seen.total} rows with {len(seen.rows[fallback])} different {fallback}s"
        todo = "give data.train and data.eval, or more rows"
        raise DataError(f"nothing can be held out of {source}", why, todo)
    if is_stream and seen.total == _PEEK:
        many = len(seen.rows["speaker"]) >= _MANY_SPEAKERS and not seen.speakers_share
        by: Key = "speaker" if many else fallback
        first = min(_position(name, seed) for name in seen.rows[by])
        return HoldOut(by, seed, max(SHARE, math.nextafter(first, 1)), root=seen.root)
    wanted = max(1, round(SHARE * seen.total))
    most = min(2 * wanted, seen.total - 1)
    if not seen.speakers_share:
        rule, held = _fill("speaker", seen, seed, wanted, most=most)
        if 2 * held >= wanted:
            return rule
    return _fill(fallback, seen, seed, wanted, most=max(most, min(seen.rows[fallback].values())))[0]


@dataclass(frozen=True, slots=True)
class _Seen:
    """How many rows there are of each speaker, recording and sentence.

    Attributes:
        rows: By what they have in common.
        has_stretches: Whether some are stretches of a longer recording.
        speakers_share: Whether one of their recordings has several speakers.
        root: The folder that all recordings lie in.
    """

    rows: Mapping[Key, Counter[str]]
    has_stretches: bool
    speakers_share: bool
    root: str

    @property
    def total(self) -> int:
        return self.rows["sentence"].total()


def _look_through(utterances: Iterable[Utterance]) -> _Seen:
    rows: dict[Key, Counter[str]] = {"speaker": Counter(), "recording": Counter(), "sentence": Counter()}
    voices: dict[str, set[str]] = {}
    has_stretches = False
    for utterance in utterances:
        speaker, recording = _key(utterance, "speaker"), _key(utterance, "recording")
        for key, counter in rows.items():
            counter[_key(utterance, key)] += 1
        voices.setdefault(recording, set()).add(speaker)
        has_stretches |= utterance.start_s > 0 or utterance.end_s is not None
    shared = has_stretches and any(len(speakers) > 1 for speakers in voices.values())
    paths = [recording for recording in rows["recording"] if recording.startswith(os.sep)]
    root = os.path.commonpath(paths) if has_stretches and paths else ""
    rows["recording"] = Counter({name.removeprefix(root): count for name, count in rows["recording"].items()})
    return _Seen(rows, has_stretches, shared, root)


def _fill(by: Key, seen: _Seen, seed: int, wanted: int, *, most: int) -> tuple[HoldOut, int]:
    """Take keys in hashed order until enough rows are held, passing over keys that would bring too many."""
    rows = seen.rows[by]
    held, below, too_large = 0, 0.0, set()
    for key in sorted(rows, key=lambda key: _position(key, seed)):
        if held >= wanted:
            break
        if held + rows[key] > most:
            too_large.add(key)
            continue
        held, below = held + rows[key], math.nextafter(_position(key, seed), 1)
    return HoldOut(by, seed, below, frozenset(too_large), seen.root), held


def _key(utterance: Utterance, by: Key, root: str = "") -> str:
    if by == "speaker":
        return utterance.speaker_id or ""
    if by == "sentence":
        return " ".join(utterance.text.casefold().split())
    if isinstance(utterance.audio, Path):
        return str(utterance.audio.absolute()).removeprefix(root)
    content = utterance.audio if isinstance(utterance.audio, bytes) else utterance.audio.tobytes()
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _position(key: str, seed: int) -> float:
    """Return the key's place in [0, 1), the same on every machine and in every process."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
