"""Rows that do not fit the memory together, in halves: the same transcripts, less at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from whisper_peft.errors import EvaluationError
from whisper_peft.measuring import is_out_of_memory, release_freed_memory

logger = logging.getLogger(__name__)

Row = TypeVar("Row")
Heard = TypeVar("Heard")


def in_halves(rows: Sequence[Row], hear: Callable[[Sequence[Row]], Sequence[Heard]]) -> list[Heard]:
    """Return what is heard of the rows, taken in two halves wherever they do not fit the memory together.

    Args:
        rows: What is heard together.
        hear: Returns a value for each row. It is called again with fewer, so it changes nothing.

    Raises:
        EvaluationError: If one row alone does not fit.

    Example:
        >>> in_halves([1, 2, 3], lambda rows: [2 * row for row in rows])
        [2, 4, 6]
    """
    try:
        return list(hear(rows))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(rows) == 1:
            raise EvaluationError(
                "the memory does not hold the model and one clip",
                str(error).splitlines()[0] if str(error) else type(error).__name__,
                "use a quantised or smaller model (model.quantize int8), or close other programs",
            ) from None
    release_freed_memory()  # after the except clause, whose traceback would hold what is to be freed
    half = (len(rows) + 1) // 2
    logger.warning("memory ran short while %d clips were transcribed: they are taken in halves", len(rows))
    return [*in_halves(rows[:half], hear), *in_halves(rows[half:], hear)]
