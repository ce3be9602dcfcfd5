"""Asking again, later and later, where a network or the Hub fails for a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from huggingface_hub.errors import OfflineModeIsEnabled

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds before each time that a question is put again: about a minute in all."""

PASSING_STATUS = (408, 429, 500, 502, 503, 504)
"""HTTP answers that may be others in a moment."""

PASSING_NAMES = {"ConnectionError", "TimeoutError", "TransportError", "ClientConnectionError"}
"""Classes of Python, of httpx and of aiohttp; by name, as the Hub's library has changed its client before and
neither need be there."""

ANSWER_NAMES = {"HTTPStatusError", "HfHubHTTPError", "ClientResponseError"}
"""Classes of errors that carry an HTTP answer."""


def is_passing(error: BaseException) -> bool:
    """Tell whether an error, or what it came from, may be gone in a moment.

    Example:
        >>> is_passing(TimeoutError()), is_passing(FileNotFoundError("no such data set"))
        (True, False)
    """
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, OfflineModeIsEnabled) or OfflineModeIsEnabled.__name__ in str(chain):
            return False  # `datasets` says so in its message only
        names = {kind.__name__ for kind in type(chain).__mro__}
        if names & ANSWER_NAMES:
            return _status(chain) in PASSING_STATUS
        if names & PASSING_NAMES:
            return True
        chain = chain.__cause__ or chain.__context__
    return False


def _status(error: Any) -> int:
    return int(error.status if type(error).__name__ == "ClientResponseError" else error.response.status_code)


def ask_patiently(
    question: Callable[[], Answer], *, name: str, sleep: Callable[[float], object] = time.sleep
) -> Answer:
    """Return the answer to a question, put again after errors that pass; the last one is raised.

    Args:
        question: What is asked.
        name: What it is asked of.
        sleep: Waits for some seconds.

    Example:
        >>> ask_patiently(lambda: 42, name="the Hub")
        42
    """
    for wait_s in WAITS_S:
        try:
            return question()
        except Exception as error:
            if not is_passing(error):
                raise
            _say(error, name, wait_s)
        sleep(wait_s)
    return question()


def read_patiently(
    open_at: Callable[[int], Iterator[Any]], *, name: str, sleep: Callable[[float], object] = time.sleep
) -> Iterator[Any]:
    """Yield the rows of a stream, opened again where it breaks off; each row comes once.

    A row that comes ends the count of failures.

    Args:
        open_at: Returns the rows from a number on.
        name: What they are of.
        sleep: Waits for some seconds.
    """
    row, failures = 0, 0
    while True:
        try:
            for content in open_at(row):
                row, failures = row + 1, 0
                yield content
            return
        except Exception as error:
            if not is_passing(error) or failures == len(WAITS_S):
                raise
            wait_s = WAITS_S[failures]
            _say(error, f"{name}, row {row}", wait_s)
        failures += 1
        sleep(wait_s)


def _say(error: Exception, name: str, wait_s: float) -> None:
    logger.warning("%s did not answer (%s); asking again in %g s", name, type(error).__name__, wait_s)
