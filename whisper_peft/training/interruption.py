"""Ctrl-C and SIGTERM end a run after its step, or after the batch of an evaluation."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from whisper_peft.evaluation.evaluator import EvaluationAbandoned
from whisper_peft.types import EvalResult

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While entered, the first Ctrl-C or SIGTERM only sets `wanted`; the second acts as ever.

    Signals can be caught in the main thread alone; elsewhere (a notebook's worker thread) nothing is changed.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def check(self) -> None:
        """Give up an evaluation, as its `progress`, where an end is wanted.

        Raises:
            EvaluationAbandoned: If it is.
        """
        if self.wanted:
            raise EvaluationAbandoned

    def abandon_if_wanted(self, evaluate: Callable[[], EvalResult], *, alone: bool) -> EvalResult | None:
        """Return the scores, or None where the evaluation was given up.

        Args:
            evaluate: Scores; may call `check` after each batch.
            alone: Whether there is one process. It gives up at once when Ctrl-C is pressed again; several
                could not go on together after that.
        """
        try:
            return evaluate()
        except EvaluationAbandoned:
            return None
        except KeyboardInterrupt:
            if not (alone and self.wanted):
                raise
            return None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM end what goes on by KeyboardInterrupt, so that files are closed and a sentence is said.

    As with `Interruption`, nothing is changed outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
