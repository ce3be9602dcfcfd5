"""Clocks and memory: the only place that reads either."""

from __future__ import annotations

import resource
import sys
import time
from types import TracebackType


class Stopwatch:
    """Accumulate wall-clock seconds over `with` blocks.

    Example:
        >>> watch = Stopwatch()
        >>> with watch:
        ...     _ = sum(range(10))
        >>> watch.seconds > 0
        True
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0

    def __enter__(self) -> Stopwatch:
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds += time.perf_counter() - self._started


def peak_memory_bytes() -> int:
    """Return the peak memory of this process in bytes.

    That is the accelerator's peak allocation when CUDA is in use, else the peak resident set size
    (`getrusage`, which counts KiB on Linux and bytes on macOS).
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak_memory() -> None:
    """Start a new peak where the platform allows it (CUDA, and Linux through `clear_refs`)."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
