"""Which contents come again, in bounded memory: an index of digests that samples when it is full.

Past its limit the index forgets the half of all contents whose digest begins with a one, then with 01, and
so on (adaptive sampling; Flajolet, 1990). All copies of a content share its digest, so what stays is still
counted exactly, and is scaled up by the share that stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_CONTENTS = 250_000
"""Contents of an index: about 50 MB."""


class FirstPlace(NamedTuple):
    """The row where a content lay first, and a few bytes that were noted of it."""

    row_id: str
    split: int
    note: bytes


@dataclass
class ContentIndex:
    """The first place of every content, and how often it lies in each split.

    Args:
        most: Contents that are kept.

    Example:
        >>> index = ContentIndex()
        >>> index.add(b"0" * 16, "a", 0), index.add(b"0" * 16, "b", 1)
        (None, FirstPlace(row_id='a', split=0, note=b''))
        >>> index.shared_rows(0, 1)
        1
    """

    most: int = MOST_CONTENTS
    halvings: int = 0
    _first: dict[bytes, tuple[int, bytes, bytes]] = field(default_factory=dict)
    _again: dict[bytes, Counter[int]] = field(default_factory=dict)

    @property
    def scale(self) -> int:
        """Contents that each kept one stands for: 1 as long as all are kept."""
        return int(2**self.halvings)

    def repeated_rows(self, among: Collection[int]) -> int:
        """Return how many rows of some splits have a content of an earlier one in the same split."""
        counts = (splits[split] for splits in self._again.values() for split in among)
        return self.scale * sum(count - 1 for count in counts if count)

    def add(self, digest: bytes, row_id: str, split: int, *, note: bytes = b"") -> FirstPlace | None:
        """Note where a content lies; return the first row that it was in, if there was one before."""
        if not self._is_sampled(digest):
            return None
        if digest not in self._first:
            self._first[digest] = (split, row_id.encode("utf-8", "surrogatepass"), note)
            while len(self._first) > self.most:
                self._halve()
            return None
        first_split, first_id, first_note = self._first[digest]
        self._again.setdefault(digest, Counter({first_split: 1}))[split] += 1
        return FirstPlace(first_id.decode("utf-8", "surrogatepass"), first_split, first_note)

    def shared_rows(self, split: int, other: int) -> int:
        """Return how many rows of a split have a content that also lies in another split."""
        return self.scale * sum(splits[split] for splits in self._again.values() if splits[other])

    def _is_sampled(self, digest: bytes) -> bool:
        return int.from_bytes(digest[:8]) >> (64 - self.halvings) == 0 if self.halvings else True

    def _halve(self) -> None:
        self.halvings += 1
        self._first = {digest: row for digest, row in self._first.items() if self._is_sampled(digest)}
        self._again = {digest: rows for digest, rows in self._again.items() if self._is_sampled(digest)}
