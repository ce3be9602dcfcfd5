"""Progress on the console: a bar on a terminal, a line every few seconds elsewhere.

Training and evaluation know nothing of consoles: `update` and `say` are handed to them as plain functions.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from whisper_peft.reporting.figures import duration, memory, number, percent

LINE_INTERVAL_S = 10.0
"""Seconds between two lines where there is no terminal to redraw."""

BAR_WIDTH = 12
"""Columns of the bar: label, count, bar and the details of training fit on 100 columns."""


class SteadyConsole(Console):
    """A console that falls silent when its reader has gone, where rich would end the process.

    Ctrl-C in `whisper-peft finetune ... | tee log` ends `tee` too, and the run has a checkpoint to write.
    """

    def on_broken_pipe(self) -> None:
        """Go on without a word; what is printed elsewhere is swallowed too."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class ConsoleProgress:
    """A count that grows, with its details: a bar on a terminal, else a line every `LINE_INTERVAL_S`.

    Args:
        label: What goes on, such as training.
        total: What the count grows to; None where nobody knows, as in a stream.
        console: Where to write; None means standard output.
        clock: Returns seconds that only grow.
    """

    def __init__(
        self, label: str, total: int | None, *, console: Console | None, clock: Callable[[], float]
    ) -> None:
        self.label, self.total = label, total
        self.console = SteadyConsole() if console is None else console
        self._clock = clock
        self._line_at: float | None = None
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=BAR_WIDTH),
            TextColumn("{task.fields[details]}", markup=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task(label, total=total, details="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, sentence: str) -> None:
        """Print a sentence, above the bar where there is one."""
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def show(self, done: int, details: str) -> None:
        """Redraw the bar, or print a line when the last one is old enough or everything is done."""
        text = f"{done}/{self.total}" if self.total is not None else str(done)
        if self.console.is_terminal:
            self._bar.update(self._task, completed=done, details=f"{text} {details}")
            return
        now = self._clock()
        if done == self.total or self._line_at is None or now - self._line_at >= LINE_INTERVAL_S:
            self._line_at = now
            self.say(f"{self.label} {text} {details}")


class TrainingProgress(ConsoleProgress):
    """Steps, loss, speed, data wait, memory and the time that is left, from the rows of `log.jsonl`.

    Example:
        >>> row = {"step": 1, "loss": 1.5, "audio_seconds_per_second": 12.0, "data_wait_share": 0.01,
        ...        "memory_bytes": 2**30, "elapsed_s": 2.0}
        >>> with TrainingProgress(100) as progress:
        ...     progress.update(row)
        training 1/100 loss 1.5 · 12 audio-s/s · data wait 1 % · 1.00 GiB · left 3 min 18 s
    """

    def __init__(
        self,
        total_steps: int,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("training", total_steps, console=console, clock=clock)
        self._total_steps = total_steps
        self._first: tuple[int, float] | None = None

    def update(self, row: Mapping[str, Any]) -> None:
        """Show a training row of the log; rows of evaluations have no loss and change nothing."""
        if "loss" not in row:
            return
        parts = [
            f"loss {number(row['loss'])}",
            f"{number(round(row['audio_seconds_per_second'], 1))} audio-s/s",
            f"data wait {percent(row['data_wait_share'], digits=0)}",
            memory(row["memory_bytes"]),
            f"left {duration(self._seconds_left(row['step'], row['elapsed_s']))}",
        ]
        self.show(row["step"], " · ".join(parts))

    def _seconds_left(self, step: int, elapsed_s: float) -> float:
        """Extrapolate from the rows seen here; a resumed run starts at a later step."""
        if self._first is None:
            self._first = (step, elapsed_s)
        first_step, first_elapsed_s = self._first
        per_step = (
            (elapsed_s - first_elapsed_s) / (step - first_step) if step > first_step else elapsed_s / step
        )
        return per_step * (self._total_steps - step)


class EvalProgress(ConsoleProgress):
    """Utterances that have been scored.

    Example:
        >>> with EvalProgress(49, "WER before") as progress:
        ...     progress.update(16)
        WER before 16/49 utterances
    """

    def __init__(
        self,
        total_utterances: int | None,
        label: str,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(label, total_utterances, console=console, clock=clock)

    def update(self, done: int) -> None:
        """Show how many utterances have been scored so far."""
        self.show(done, "utterances")
