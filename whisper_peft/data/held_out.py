"""A seeded tenth of the rows, held out for scoring where a corpus brings no split of its own."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True, slots=True)
class HoldOut:
    """A rule that tells held-out rows from the rest: all rows of a key go the same way."""

    by: Literal["speaker", "sentence"]
    seed: int
    below: float
    """Keys whose seeded hash in [0, 1) is below this are held out."""
    never: frozenset[str] = frozenset()
    """Keys that stay in training although their hash is below: they would hold out too much."""

    def __call__(self, utterance: Utterance) -> bool:
        """Tell whether the utterance is held out."""
        key = _key(utterance, self.by)
        return key not in self.never and _position(key, self.seed) < self.below


def choose_hold_out(utterances: Iterable[Utterance], *, is_stream: bool, seed: int, source: str) -> HoldOut:
    """Choose what to hold out: whole speakers where that comes to about a tenth, else whole sentences.

    Raises:
        DataError: If there are not two different sentences to part.

    Example:
        >>> rows = [Utterance(str(n), b"", f"sentence {n}") for n in range(20)]
        >>> rule = choose_hold_out(rows, is_stream=False, seed=42, source="a list")
        >>> rule.by, sum(map(rule, rows))
        ('sentence', 2)
    """
    seen = itertools.islice(utterances, _PEEK) if is_stream else utterances
    speakers: Counter[str] = Counter()
    sentences: Counter[str] = Counter()
    for utterance in seen:
        speakers[_key(utterance, "speaker")] += 1
        sentences[_key(utterance, "sentence")] += 1
    if len(sentences) < 2:
        why = f"it has {sentences.total()} rows with {len(sentences)} different sentences"
        todo = "give data.train and data.eval, or more rows"
        raise DataError(f"nothing can be held out of {source}", why, todo)
    if is_stream and sentences.total() == _PEEK:
        by: Literal["speaker", "sentence"] = "speaker" if len(speakers) >= _MANY_SPEAKERS else "sentence"
        first = min(_position(key, seed) for key in (speakers if by == "speaker" else sentences))
        return HoldOut(by, seed, max(SHARE, math.nextafter(first, 1)))
    total = sentences.total()
    wanted = max(1, round(SHARE * total))
    most = min(2 * wanted, total - 1)
    rule, held = _fill("speaker", speakers, seed, wanted, most=most)
    if 2 * held >= wanted:
        return rule
    return _fill("sentence", sentences, seed, wanted, most=max(most, min(sentences.values())))[0]


def _fill(
    by: Literal["speaker", "sentence"], rows: Counter[str], seed: int, wanted: int, *, most: int
) -> tuple[HoldOut, int]:
    """Take keys in hashed order until enough rows are held, passing over keys that would bring too many."""
    held, below, too_large = 0, 0.0, set()
    for key in sorted(rows, key=lambda key: _position(key, seed)):
        if held >= wanted:
            break
        if held + rows[key] > most:
            too_large.add(key)
            continue
        held, below = held + rows[key], math.nextafter(_position(key, seed), 1)
    return HoldOut(by, seed, below, frozenset(too_large)), held


def _key(utterance: Utterance, by: Literal["speaker", "sentence"]) -> str:
    if by == "speaker":
        return utterance.speaker_id or ""
    return " ".join(utterance.text.casefold().split())


def _position(key: str, seed: int) -> float:
    """Return the key's place in [0, 1), the same on every machine and in every process."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
