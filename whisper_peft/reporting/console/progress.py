"""Progress on the console: a bar on a terminal, a line every few seconds elsewhere.

Training and evaluation know nothing of consoles: `update` and `say` are handed to them as plain functions.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn

LINE_INTERVAL_S = 10.0
"""Seconds between two lines where there is no terminal to redraw."""

REDRAWS_PER_SECOND = 2
"""Redraws of a terminal: each takes 4 ms of a core from the work, under one per cent in all."""

BAR_WIDTH = 12
"""Columns of the bar: label, count, bar and the details of training fit on 100 columns."""


class SteadyConsole(Console):
    """A console that falls silent when its reader has gone, where rich would end the process.

    Ctrl-C in `whisper-peft finetune ... | tee log` ends `tee` too, and the run has a checkpoint to write.

    It is a terminal only where somebody can see it move: FORCE_COLOR, as build servers set it, would fill a
    log with what a bar redraws itself by.

    Args:
        quiet: Print nothing, as on all processes but the main one.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(quiet=quiet, force_terminal=sys.stdout.isatty() and os.environ.get("TERM") != "dumb")

    def on_broken_pipe(self) -> None:
        """Go on without a word; what is printed elsewhere is swallowed too."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class LiveBar(Progress):
    """A bar with lines below it.

    Args:
        console: Where to draw.
        below: Returns what is drawn below; it is asked from another thread, a few times a second.
    """

    def __init__(self, console: Console, below: Callable[[], Iterable[RenderableType]]) -> None:
        self._below = below
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=BAR_WIDTH),
            TextColumn("{task.fields[details]}", markup=False),
            console=console,
            disable=console.quiet or not console.is_terminal,
            refresh_per_second=REDRAWS_PER_SECOND,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the bar and what is below it."""
        yield from super().get_renderables()
        yield from self._below()


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
        self._bar = LiveBar(self.console, self.below)
        self._task = self._bar.add_task(label, total=total, details="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def below(self) -> Iterable[RenderableType]:
        """Return what is drawn below the bar; nothing but in some kinds of progress."""
        return ()

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
