"""Going on in the middle of a source: what was heard before is passed over, as far as can be unread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeAlias, runtime_checkable

from whisper_peft.types import Utterance

logger = logging.getLogger(__name__)

SAID_EVERY_S = 10.0
"""Seconds between the lines that tell how far a source has been passed over."""

Keeps: TypeAlias = Callable[[Utterance], bool]
"""Tells from a row's text and speaker whether it counts; its recording may be missing."""


@runtime_checkable
class Skippable(Protocol):
    """Rows that can be passed over without reading their recordings."""

    def after(self, count: int, keeps: Keeps) -> Iterator[Utterance]:
        """Yield the rows that `keeps` wants, without the first `count` of them."""


def rows_after(rows: Iterable[Utterance], count: int, keeps: Keeps | None = None) -> Iterator[Utterance]:
    """Yield the rows that `keeps` wants, without the first `count`; a source that cannot skip is read.

    Example:
        >>> rows = [Utterance(name, b"", name) for name in "abcd"]
        >>> [row.id for row in rows_after(rows, 1, keeps=lambda row: row.text != "b")]
        ['c', 'd']
    """
    wanted = keeps or keep_all
    if count and isinstance(rows, Skippable):
        return rows.after(count, wanted)
    return _read_past(filter(wanted, rows), PassedOver(count, "the stream"))


def keep_all(row: Utterance) -> bool:
    """Count every row."""
    return True


def _read_past(rows: Iterator[Utterance], passed: PassedOver) -> Iterator[Utterance]:
    for row in rows:
        if passed.is_past():
            yield row


class PassedOver:
    """Counts rows that were heard before, and says every few seconds how far it is.

    Args:
        count: Rows to pass over.
        name: What they are of.
        clock: Returns seconds.
    """

    def __init__(self, count: int, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.count, self.name, self.clock = count, name, clock
        self.passed = 0
        self._said = clock()

    def is_past(self) -> bool:
        """Count a row and tell whether it comes after those to pass over."""
        if self.passed == self.count:
            return True
        self.passed += 1
        if self.clock() - self._said >= SAID_EVERY_S:
            self._said = self.clock()
            told = "passing over what was heard before: row %d of %d of %s"
            logger.warning(told, self.passed, self.count, self.name)
        return False
