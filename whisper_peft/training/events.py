"""What happens in training, told to whoever listens: the logs, the progress bar, your own code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from whisper_peft.model.loading import Whisper
from whisper_peft.types import EvalResult


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: `start`, `step` (an optimiser step ended), `evaluation`, `checkpoint` or `end`.
        step: Optimiser steps done.
        total_steps: Optimiser steps planned.
        row: The numbers of it, as in `log.jsonl`.
        whisper: The model in training; not to be changed.
        result: The scores, for an `evaluation`.
    """

    kind: Literal["start", "step", "evaluation", "checkpoint", "end"]
    step: int
    total_steps: int
    row: Mapping[str, Any]
    whisper: Whisper
    result: EvalResult | None = field(default=None)


Callback: TypeAlias = Callable[[Event], bool | Mapping[str, float] | None]
"""Listens to events. May return True to stop the run, or named numbers to add to the log.

Example:
    >>> def stop_when_good(event: Event) -> bool:
    ...     return event.result is not None and event.result.wer < 0.05
"""


def announce(event: Event, callbacks: tuple[Callback, ...]) -> bool:
    """Call every callback in order and return whether one wants to stop.

    Numbers that one adds are in the row that the next one sees, so the log comes after a user's own metric.
    """
    stop = False
    for callback in callbacks:
        answer = callback(event)
        if isinstance(answer, Mapping):
            event = replace(event, row={**event.row, **answer})
        else:
            stop = stop or bool(answer)
    return stop
