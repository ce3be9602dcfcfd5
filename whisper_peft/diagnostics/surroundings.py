"""What a run finds around it: processors, memory, disk and the Hub."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from tempfile import NamedTemporaryFile

import psutil
import torch
from huggingface_hub import constants, get_session, is_offline_mode

from whisper_peft.diagnostics.checks import Attempt, Check
from whisper_peft.measuring import Stopwatch, free_memory_bytes, usable_cores

_HUB_TIMEOUT_S = 3.0
"""Seconds after which the Hub counts as out of reach."""

_NEEDED_DISK_BYTES = 5 * 10**9
"""Free disk that a run with whisper-small, its checkpoints and its merged model fits in."""

_NEEDED_MEMORY_BYTES = 2 * 2**30
"""Free memory for small runs: whisper-tiny with LoRA takes 1.4 to 2.2 GiB (docs/results/planner.md)."""

_WRITTEN_BYTES = 32 * 2**20
"""What is written to see how fast the disk is: an adapter of whisper-large, about."""


def python() -> Check:
    """Tell the interpreter and the system."""
    return Check("Python", True, f"{platform.python_version()} on {platform.platform(terse=True)}")


def processors() -> Check:
    """Tell what there is to compute with beside an accelerator."""
    kind = platform.processor() or platform.machine()
    return Check("CPU", True, f"{kind}, {usable_cores()} cores, torch uses {torch.get_num_threads()} threads")


def accelerator() -> Check:
    """Tell which accelerator is used, if any."""
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        version = f"compute capability {properties.major}.{properties.minor}"
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        others = f", {torch.cuda.device_count()} of them" if torch.cuda.device_count() > 1 else ""
        return Check("GPU", True, f"{properties.name}, {memory}, {version}{others}")
    if torch.backends.mps.is_available():
        return Check("GPU", True, "MPS; bitsandbytes needs CUDA or a CPU there")
    built = "built for CUDA" if torch.backends.cuda.is_built() else "a CPU build"
    todo = "with an NVIDIA GPU: install its driver, and a CUDA build of torch (README)"
    return Check("GPU", False, f"none; the CPU is used. torch {torch.__version__} is {built}", todo)


def memory() -> Check:
    """Tell how much memory is free."""
    free, total = free_memory_bytes(), psutil.virtual_memory().total
    enough = free >= _NEEDED_MEMORY_BYTES
    todo = "" if enough else "end other programs, or lower train.batch_seconds and train.part_seconds"
    return Check("memory", enough, f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free", todo)


def disk(folder: Path) -> Check:
    """Write a small file where runs would be, and tell how fast that was and how much room there is.

    Args:
        folder: Where runs would be written.
    """
    todo = "free some space, or use --output-dir"
    check = Attempt(lambda: _write(folder), todo).check("disk")
    if check.works and shutil.disk_usage(folder).free < _NEEDED_DISK_BYTES:
        return Check("disk", False, check.detail, todo)
    return check


def _write(folder: Path) -> str:
    watch = Stopwatch()
    with watch, NamedTemporaryFile(dir=folder, prefix=".whisper-peft-") as file:
        file.write(bytes(_WRITTEN_BYTES))
        file.flush()
        os.fsync(file.fileno())
    free = shutil.disk_usage(folder).free
    return f"{free / 1e9:.0f} GB free, written at {_WRITTEN_BYTES / 1e6 / watch.seconds:.0f} MB/s"


def hub() -> Check:
    """Ask the Hub for an answer, unless it is switched off."""
    if is_offline_mode():
        return Check("Hub", False, "switched off by HF_HUB_OFFLINE", "unset it to download models and data")
    return Attempt(_reach_hub, "give model.name and data.source as folders, or use installed weights").check(
        "Hub"
    )


def _reach_hub() -> str:
    get_session().head(constants.ENDPOINT, timeout=_HUB_TIMEOUT_S)
    return f"{constants.ENDPOINT} answers"
