"""Clocks, cores and memory: the only place that reads them."""

from __future__ import annotations

import os
import resource
import sys
import time
from types import TracebackType

import psutil


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


def usable_cores() -> int:
    """Return the logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def memory_bytes() -> int:
    """Return the memory in use now, in bytes: allocated on CUDA when that is in use, else resident."""
    if _cuda_in_use():
        return int(sys.modules["torch"].cuda.memory_allocated())
    return int(psutil.Process().memory_info().rss)


def peak_memory_bytes() -> int:
    """Return the peak memory of this process in bytes.

    That is the accelerator's peak allocation when CUDA is in use, else the peak resident set size
    (`getrusage`, which counts KiB on Linux and bytes on macOS).
    """
    if _cuda_in_use():
        return int(sys.modules["torch"].cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cuda_in_use() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_available() and torch.cuda.is_initialized())
