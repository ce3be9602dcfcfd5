"""Training on the console: a bar with a table that lives below it on a terminal, else plain lines."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table

from whisper_peft.reporting.console.progress import ConsoleProgress
from whisper_peft.reporting.figures import count, duration, memory, number, percent, whole_percent

LEAST_WIDTH, LEAST_HEIGHT = 64, 16
"""Columns and lines that the table needs; on a smaller terminal the bar tells the most important."""

RECENT = 50
"""Steps that a mean is over."""

SHADES = "▁▂▃▄▅▆▇█"
TRACE_WIDTH = 24
"""Signs of a curve beside a number."""


class Trace:
    """A curve in a few signs, from the first value to the last; it never holds more than twice its width.

    Example:
        >>> trace = Trace()
        >>> for value in (4.0, 3.0, 2.0, 1.0):
        ...     trace.add(value)
        >>> trace.drawn()
        '█▆▃▁'
    """

    def __init__(self) -> None:
        self._means: list[float] = []
        self._open: list[float] = []
        self._stretch = 1

    def add(self, value: float) -> None:
        """Take in a value; one that is not finite leaves no sign."""
        if not math.isfinite(value):
            return
        self._open.append(value)
        if len(self._open) < self._stretch:
            return
        means = [*self._means, sum(self._open) / self._stretch]
        self._open = []
        if len(means) == 2 * TRACE_WIDTH:
            means = [(one + other) / 2 for one, other in zip(means[::2], means[1::2], strict=True)]
            self._stretch *= 2
        self._means = means

    def drawn(self) -> str:
        """Return the signs."""
        means = self._means
        if len(means) > TRACE_WIDTH:  # a stretch of the drawn curve is one or two of those that are held
            means = [sum(means[at : at + 2]) / len(means[at : at + 2]) for at in range(0, len(means), 2)]
        low, high = min(means, default=0.0), max(means, default=0.0)
        span = (high - low) or 1.0
        return "".join(SHADES[round((value - low) / span * (len(SHADES) - 1))] for value in means)


class LiveFigure:
    """A number of the log as the table shows it.

    Args:
        title: What it is.
        print_value: Prints it.
    """

    def __init__(self, title: str, print_value: Callable[[float], str]) -> None:
        self.title, self.print_value = title, print_value
        self.last: float | None = None
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._trace = Trace()

    def add(self, value: float) -> None:
        """Take in the value of a step."""
        self.last = value
        self._trace.add(value)
        if math.isfinite(value):
            self._recent.append(value)

    def cells(self) -> tuple[str, str, str, str]:
        """Return its row: title, last value, mean of the last ones, curve."""
        if self.last is None:
            return self.title, "–", "", ""
        recent = list(self._recent)
        mean = self.print_value(sum(recent) / len(recent)) if recent else ""
        return self.title, self.print_value(self.last), mean, self._trace.drawn()


class TrainingProgress(ConsoleProgress):
    """What the rows of `log.jsonl` tell, as they come, and the time that is left.

    Example:
        >>> row = {"step": 1, "loss": 1.5, "learning_rate": 1e-4, "grad_norm": 2.0, "audio_seconds": 24.0,
        ...        "target_tokens": 96, "audio_seconds_per_second": 12.0, "data_wait_share": 0.01,
        ...        "memory_bytes": 2**30, "elapsed_s": 2.0}
        >>> with TrainingProgress(100) as progress:
        ...     progress.update(row)
        training 1/100 loss 1.5 · lr 0.0001 · gradient 2 · 12 audio-s/s · 48 tokens/s · data wait 1 % · ...
    """

    def __init__(
        self,
        total_steps: int,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._figures = {
            "loss": LiveFigure("loss", number),
            "eval_wer": LiveFigure("WER so far", percent),
            "learning_rate": LiveFigure("learning rate", number),
            "grad_norm": LiveFigure("gradient norm", number),
            "audio_seconds_per_second": LiveFigure("audio-s/s", _tenths),
            "tokens_per_second": LiveFigure("tokens/s", count),
            "data_wait_share": LiveFigure("data wait", whole_percent),
            "memory_bytes": LiveFigure("memory", memory),
        }
        super().__init__("training", total_steps, console=console, clock=clock)
        self._total_steps = total_steps
        self._first: tuple[int, float] | None = None

    def update(self, row: Mapping[str, Any]) -> None:
        """Take in a row of the log, and show it where it is of a step."""
        known = {**row, "tokens_per_second": _tokens_per_second(row)} if "loss" in row else row
        for name, figure in self._figures.items():
            if name in known:
                figure.add(known[name])
        if "loss" not in row:
            return
        left = f"left {duration(self._seconds_left(row['step'], row['elapsed_s']))}"
        self.show(row["step"], " · ".join([*self._parts(known), left]))

    def below(self) -> Iterable[RenderableType]:
        """Return the table of all numbers, where the terminal has room for it."""
        if not self._has_room():
            return ()
        table = Table(box=None, pad_edge=False, header_style="dim")
        for heading in ("", "last", f"mean of {RECENT}"):
            table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
        table.add_column("from the first to the last", no_wrap=True)
        for figure in self._figures.values():
            table.add_row(*figure.cells())
        return (table,)

    def _parts(self, row: Mapping[str, Any]) -> list[str]:
        """Return what stands beside the bar, or in a line: on a small terminal the most important alone."""
        if self._has_room():
            return []
        steepness = [f"lr {number(row['learning_rate'])}", f"gradient {number(row['grad_norm'])}"]
        learned = [f"{count(row['tokens_per_second'])} tokens/s"]
        is_line = not self.console.is_terminal
        return [
            f"loss {number(row['loss'])}",
            *(steepness if is_line else []),
            f"{_tenths(row['audio_seconds_per_second'])} audio-s/s",
            *(learned if is_line else []),
            f"data wait {percent(row['data_wait_share'], digits=0)}",
            memory(row["memory_bytes"]),
        ]

    def _has_room(self) -> bool:
        width, height = self.console.size
        return self.console.is_terminal and width >= LEAST_WIDTH and height >= LEAST_HEIGHT

    def _seconds_left(self, step: int, elapsed_s: float) -> float:
        """Extrapolate from the rows seen here; a resumed run starts at a later step."""
        if self._first is None:
            self._first = (step, elapsed_s)
        first_step, first_elapsed_s = self._first
        per_step = (
            (elapsed_s - first_elapsed_s) / (step - first_step) if step > first_step else elapsed_s / step
        )
        return per_step * (self._total_steps - step)


def _tokens_per_second(row: Mapping[str, Any]) -> float:
    heard = float(row["audio_seconds"])
    return row["target_tokens"] / heard * row["audio_seconds_per_second"] if heard else 0.0


def _tenths(value: float) -> str:
    return number(round(value, 1))
