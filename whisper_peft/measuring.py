"""Clocks, cores and memory: the only place that reads them."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import re
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

KERNEL_CACHE = 64
"""Kernels that oneDNN keeps in fp32: more than a step uses again and again."""

KERNEL_CACHE_VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
"""Where oneDNN reads that, once, when it is first used."""


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


def free_memory_bytes() -> int:
    """Return the main memory that may still be taken, in bytes.

    In a Linux container that is what its limit leaves, though the machine may have more.
    """
    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        counts = dict(line.split() for line in lines)
    except (OSError, ValueError):  # no group of version 2, or `max`: no limit
        return free
    return max(min(free, limit - int(counts["anon"])), 0)


def peak_memory_bytes() -> int:
    """Return the peak memory of this process in bytes.

    That is the accelerator's peak allocation when CUDA is in use, else the peak resident set size. Linux's
    `getrusage` would give a process that a large one started the size of its parent, so the kernel's own mark
    of this program is read there; both count KiB, and macOS bytes.
    """
    if _cuda_in_use():
        return int(sys.modules["torch"].cuda.max_memory_allocated())
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        mark = re.search(r"VmHWM:\s*(\d+) kB", status)
        if mark is not None:  # sandboxes such as gVisor keep none
            return int(mark[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


MEMORY_ERRORS = (
    "out of memory",
    "DefaultCPUAllocator",
    "std::bad_alloc",
    "could not create a memory object",
)
"""What torch's errors say when memory is short: CUDA, MPS and XPU; the CPU's allocator; C++; oneDNN."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that there was no memory left.

    Example:
        >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
        True
        >>> is_out_of_memory(RuntimeError("shape mismatch"))
        False
    """
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in MEMORY_ERRORS)


def fastest_run(action: Callable[[], object], seconds: float) -> float:
    """Return the seconds of the fastest of several runs, after one that is not counted.

    Args:
        action: What is run; on an accelerator it must wait for its end.
        seconds: Least time to spend.

    Example:
        >>> fastest_run(lambda: sum(range(10)), seconds=0.001) > 0
        True
    """
    action()
    fastest, spent = float("inf"), 0.0
    while spent < seconds:
        watch = Stopwatch()
        with watch:
            action()
        fastest, spent = min(fastest, watch.seconds), spent + watch.seconds
    return fastest


def release_freed_memory() -> None:
    """Give freed memory back, which CUDA's caches and glibc's heap would keep from the next stage."""
    gc.collect()
    if _cuda_in_use():
        sys.modules["torch"].cuda.empty_cache()
    trim_heap()


def limit_kernel_cache() -> None:
    """Let oneDNN keep few kernels, before it is first used; a number that the environment has stays.

    oneDNN makes a kernel for each shape that it meets, and speech has all lengths. Those that it keeps, 1024
    unless told, lie scattered in the heap: ever fewer large blocks fit between them, and each step takes more
    of the heap than the one before. In fp32 only convolutions are its kernels, and hardly one comes again; in
    bf16 every product is one, and fewer cost time (docs/results/README.md).
    """
    os.environ.setdefault(KERNEL_CACHE_VARIABLE, str(KERNEL_CACHE))


def trim_heap() -> None:
    """Give back what glibc's heap keeps between allocations: after many sizes, that is most of it."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a stage of a run took: wall-clock seconds, and the most memory of the process until its end."""

    seconds: float
    peak_memory_bytes: int


class StageClock:
    """Measure the stages of a run, each as a `with` block; one that comes again adds its seconds.

    A stage begins with the memory that those before it have freed.

    Attributes:
        costs: What each stage took, in their order.

    Example:
        >>> clock = StageClock()
        >>> with clock("load"):
        ...     _ = sum(range(10))
        >>> clock.costs["load"].seconds > 0
        True
    """

    def __init__(self) -> None:
        self.costs: dict[str, StageCost] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure a block under a name, also where it fails."""
        before = self.costs[name].seconds if name in self.costs else 0.0
        release_freed_memory()
        watch = Stopwatch()
        try:
            with watch:
                yield
        finally:
            self.costs[name] = StageCost(before + watch.seconds, peak_memory_bytes())


class PeakMemory:
    """Watch the memory of this process over a `with` block, in a thread that samples it.

    On CUDA the allocator keeps the peak itself. Elsewhere the resident size is read every `interval_s`: the
    kernel's own peak (`peak_memory_bytes`) covers the whole life of a process, loading included.

    Attributes:
        before_bytes: Memory in use when the block began.
        peak_bytes: Most memory in use within it.

    Example:
        >>> with PeakMemory() as memory:
        ...     _ = bytearray(1024)
        >>> memory.peak_bytes >= memory.before_bytes > 0
        True
    """

    def __init__(self, interval_s: float = 0.02) -> None:
        self.interval_s = interval_s
        self.before_bytes = self.peak_bytes = 0
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        if _cuda_in_use():
            sys.modules["torch"].cuda.reset_peak_memory_stats()
        self.before_bytes = self.peak_bytes = memory_bytes()
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._watcher.join()
        self.so_far()

    def so_far(self) -> int:
        """Return the peak until now."""
        self.peak_bytes = peak_memory_bytes() if _cuda_in_use() else max(self.peak_bytes, memory_bytes())
        return self.peak_bytes

    def _watch(self) -> None:
        while not self._ended.wait(self.interval_s):
            self.so_far()


def _cuda_in_use() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_available() and torch.cuda.is_initialized())
