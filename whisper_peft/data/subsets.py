"""A part of the training rows, to find out how much data is enough: whole speakers, less within more.

Speakers stand in an order that depends on their names and a seed alone. A share is as many of the first ones
as it takes, so that what 10 % of a corpus taught, 30 % of it teach too.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from whisper_peft.types import Utterance

FEWEST_SPEAKERS = 10
"""With fewer speakers single rows are taken: a tenth of the speech would be less than one of them."""

_PEEK = 1_000
"""Rows of a stream that are looked at to learn whether its rows name their speakers."""


@dataclass(frozen=True, slots=True)
class Subset:
    """A rule that tells the rows of a part from the rest.

    Attributes:
        by_speaker: Whether whole speakers are taken; else single rows.
        last: Place, in the order of speakers or rows, of the last one that is taken.
        sentence: How large the part is.
    """

    by_speaker: bool
    seed: int
    last: float
    sentence: str

    def __call__(self, utterance: Utterance) -> bool:
        """Tell whether the utterance is in the part."""
        return _place(_key(utterance, self.by_speaker), self.seed) <= self.last


def choose_subset(utterances: Iterable[Utterance], share: float, *, is_stream: bool, seed: int) -> Subset:
    """Choose a share of the rows.

    Args:
        utterances: All of them; of a stream only the first are looked at.
        share: Of the rows, over 0 and up to 1; at least one speaker or row is taken.
        is_stream: Whether rows can only be read one after the other.
        seed: Of the order.

    Example:
        >>> rows = [Utterance(str(n), b"", "", speaker_id=str(n % 20)) for n in range(200)]
        >>> tenth = choose_subset(rows, 0.1, is_stream=False, seed=0)
        >>> sum(map(tenth, rows)), tenth.sentence
        (20, '10 % of the rows, 2 of 20 speakers')
    """
    seen = list(itertools.islice(utterances, _PEEK)) if is_stream else list(utterances)
    speakers = {row.speaker_id for row in seen}
    by_speaker = None not in speakers and len(speakers) >= FEWEST_SPEAKERS
    if is_stream:
        return Subset(by_speaker, seed, share, f"{share:.0%} of the {_name(by_speaker)}".replace("%", " %"))
    rows = Counter(_key(row, by_speaker) for row in seen)
    order = sorted(rows, key=lambda key: _place(key, seed))
    sums = list(itertools.accumulate(rows[key] for key in order))
    wanted = share * len(seen)
    taken = next((number for number, rows_so_far in enumerate(sums, 1) if rows_so_far >= wanted), len(order))
    part = f"{sums[taken - 1] / len(seen):.0%} of the rows".replace("%", " %")
    told = f"{part}, {taken} of {len(order)} {_name(by_speaker)}" if by_speaker else part
    return Subset(by_speaker, seed, _place(order[taken - 1], seed), told)


def _name(by_speaker: bool) -> str:
    return "speakers" if by_speaker else "rows"


def _key(utterance: Utterance, by_speaker: bool) -> str:
    return (utterance.speaker_id or "") if by_speaker else utterance.id


def _place(key: str, seed: int) -> float:
    """Return the key's place in [0, 1), the same on every machine and in every process."""
    digest = hashlib.blake2b(f"part {seed}:{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
