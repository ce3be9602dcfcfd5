"""How many processes there are, and whether that is what was asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import psutil
import torch
from accelerate import Accelerator

from whisper_peft.errors import TrainingError


def start_processes(device: str) -> Accelerator:
    """Join the process group that torchrun or accelerate launched, or start alone.

    Precision, gradient accumulation and data stay ours: accelerate wraps the model for several processes and
    gathers.

    Args:
        device: The recipe's `model.device`.

    Raises:
        TrainingError: If the launcher was asked for more processes than it started.
    """
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no")
    asked = asked_processes(_launcher_command())
    if asked is not None and accelerator.num_processes < asked:
        raise TrainingError(
            f"{asked} processes were asked for, {accelerator.num_processes} started",
            "accelerate's launcher starts a single process on a CPU without MPI, and says nothing",
            f"use torchrun --nproc_per_node {asked} with the same script",
        )
    return accelerator


def asked_processes(command: Sequence[str]) -> int | None:
    """Return the `--num_processes` of an `accelerate launch` command line, if it has one.

    Example:
        >>> asked_processes(["python", "accelerate", "launch", "--num_processes", "2", "--cpu", "train.py"])
        2
    """
    words = " ".join(command)
    if "accelerate" not in words or " launch" not in words:
        return None
    found = re.search(r"--num[_-]processes[ =](\d+)", words)
    return int(found[1]) if found else None


def _launcher_command() -> list[str]:
    try:
        parent = psutil.Process(os.getpid()).parent()
        return parent.cmdline() if parent else []
    except psutil.Error:
        return []


def total_over_processes(accelerator: Accelerator, *numbers: float) -> list[float]:
    """Return each number summed over all processes, in float64."""
    if accelerator.num_processes == 1:
        return list(numbers)
    dtype = torch.float32 if accelerator.device.type == "mps" else torch.float64
    totals = torch.tensor(numbers, dtype=dtype, device=accelerator.device)
    reduced: list[float] = accelerator.reduce(totals, "sum").tolist()
    return reduced
