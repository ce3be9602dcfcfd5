"""How many processes there are, and whether that is what was asked for."""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import psutil
import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, broadcast_object_list
from torch.distributed import DistError
from torch.distributed.distributed_c10d import _get_default_store

from whisper_peft.errors import TrainingError, WhisperPeftError
from whisper_peft.measuring import usable_cores
from whisper_peft.model.precision import DeviceName, choose_device

LONGEST_WAIT = timedelta(hours=3)
"""How long processes wait for each other: the main one merges alone, which may take longer than torch's own
10 to 30 minutes. A process that dies is noticed at once all the same."""

logger = logging.getLogger(__name__)

SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
"""What accelerate can be set up for beside plain processes."""

LOST_WORDS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL communicator")
"""What the errors of gloo and NCCL say when another process is gone."""

_PLACE, _FAILED = "whisper_peft/process/{}", "whisper_peft/failed/{}"

Result = TypeVar("Result")

_together = itertools.count()
"""Numbers the work that processes do together, so that a failure is not taken for one of earlier work."""


def start_processes(device: DeviceName) -> Accelerator:
    """Join the process group that torchrun or accelerate launched, or start alone.

    Precision, gradients and data stay ours: accelerate knows the processes and gathers.

    Args:
        device: The recipe's `model.device`.

    Raises:
        TrainingError: If the launcher was asked for more processes than it started.
    """
    # without `cpu`, accelerate starts no process group on a machine that has no accelerator
    on_cpu = choose_device(device).type == "cpu"
    if on_cpu:
        _leave_gpu()
    patience = InitProcessGroupKwargs(timeout=LONGEST_WAIT)
    accelerator = Accelerator(cpu=on_cpu, mixed_precision="no", kwargs_handlers=[patience])
    if accelerator.distributed_type in SHARDED and accelerator.is_main_process:
        told = "accelerate was set up for %s: each process keeps whole weights, nothing is sharded"
        logger.warning(told, accelerator.distributed_type.value)
    launcher = _launcher()
    asked = asked_processes(launcher.cmdline() if launcher else []) or int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes < asked:
        raise TrainingError(
            f"{asked} processes were asked for, {accelerator.num_processes} started",
            "accelerate's launcher starts a single process on a CPU without MPI, and says nothing",
            f"use torchrun --nproc_per_node {asked} with the same script",
        )
    if accelerator.num_processes > 1:
        _note_process(accelerator.process_index)
        # at the end of the program, not of a run: a script may fine-tune and evaluate several times
        atexit.register(accelerator.end_training)
    if accelerator.num_processes == 1 and _threads_were_taken_away():
        torch.set_num_threads(usable_cores())
    return accelerator


def _leave_gpu() -> None:
    """Let a single process run on the CPU after a run on a GPU; accelerate would keep its first device."""
    started = PartialState._shared_state
    if started and started["num_processes"] == 1 and started["device"].type != "cpu":
        AcceleratorState._reset_state(reset_partial_state=True)


def _threads_were_taken_away() -> bool:
    """Tell whether accelerate's launcher set one thread unasked, which halves the speed of a CPU and more."""
    parent = _launcher()
    if parent is None or "launch" not in parent.cmdline():
        return False
    asked = any("num_cpu_threads" in word.replace("-", "_") for word in parent.cmdline())
    return not asked and "OMP_NUM_THREADS" not in parent.environ()


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


def _launcher() -> psutil.Process | None:
    """Return the process that started this one, if it may be looked at."""
    try:
        parent = psutil.Process().parent()
        if parent is not None:
            parent.environ()
        return parent
    except psutil.Error:
        return None


@contextmanager
def failing_together(accelerator: Accelerator) -> Iterator[None]:
    """Keep the traceback of the process that fails first; the others, which wait for it in vain, name it.

    Errors that a user can mend pass as they are.

    Raises:
        TrainingError: If another process has failed.
    """
    number = next(_together)
    try:
        yield
    except BaseException as error:
        if accelerator.num_processes > 1 and _is_loss_of_another(error) and not _is_known(number):
            raise _lost(accelerator) from None
        first = _first_to_fail(number, accelerator) if accelerator.num_processes > 1 else None
        mendable = isinstance(error, WhisperPeftError) or not isinstance(error, Exception)
        if mendable or first in (None, accelerator.process_index):
            raise
        raise TrainingError(
            f"process {first} of {accelerator.num_processes} failed",
            "the others cannot go on without it",
            "its own message says why",
        ) from None


def _note_process(rank: int) -> None:
    """Let the others know by which number the system knows this process."""
    with suppress(DistError):
        _get_default_store().set(_PLACE.format(rank), f"{os.getpid()} {socket.gethostname()}")


def _is_loss_of_another(error: BaseException) -> bool:
    """Tell whether an error is what gloo or NCCL say when another process is gone."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in LOST_WORDS)


def _lost(accelerator: Accelerator) -> TrainingError:
    """Return the error that names the processes of this machine that are gone."""
    gone = [f"{rank} (pid {pid})" for rank, pid in _gone(accelerator)]
    named = f"process {', '.join(gone)} of {accelerator.num_processes} is gone"
    return TrainingError(
        named if gone else "a process of another machine does not answer",
        "it failed, or was killed: by the system, which does that when memory runs short, or by hand",
        "read what it said last, and go on with --resume and as many processes",
    )


def _gone(accelerator: Accelerator) -> Iterator[tuple[int, int]]:
    """Yield the ranks and numbers of processes of this machine that are not there any more."""
    for rank in range(accelerator.num_processes):
        try:
            pid, _, host = _get_default_store().get(_PLACE.format(rank)).decode().partition(" ")
        except DistError:  # the store goes with the main process where no launcher keeps it
            continue
        if host == socket.gethostname() and not _is_running(int(pid)):
            yield rank, int(pid)


def _is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _is_known(number: int) -> bool:
    """Tell whether a process has said that it fails."""
    try:
        return bool(_get_default_store().check([_FAILED.format(number)]))
    except DistError:
        return False


def _first_to_fail(number: int, accelerator: Accelerator) -> int:
    """Return the rank of the first process to get here, which tells the others before it is gone."""
    try:
        key, rank = _FAILED.format(number), str(accelerator.process_index)
        return int(_get_default_store().compare_set(key, "", rank))
    except DistError:  # the store goes with the main process where no launcher keeps it
        return 0


def total_over_processes(accelerator: Accelerator, *numbers: float) -> list[float]:
    """Return each number summed over all processes, in float64."""
    if accelerator.num_processes == 1:
        return list(numbers)
    dtype = torch.float32 if accelerator.device.type == "mps" else torch.float64
    totals = torch.tensor(numbers, dtype=dtype, device=accelerator.device)
    reduced: list[float] = accelerator.reduce(totals, "sum").tolist()
    return reduced


def on_main_process(accelerator: Accelerator, action: Callable[[], Result]) -> Result:
    """Let the main process act while the others wait; all get what it returns, or the error it raises.

    Raises:
        WhisperPeftError: If the action does.
    """
    outcome: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            outcome = [action()]
        except WhisperPeftError as error:
            outcome = [error]
    if accelerator.num_processes > 1:
        outcome = broadcast_object_list(outcome)
    if isinstance(outcome[0], WhisperPeftError):
        raise outcome[0]
    result: Result = outcome[0]
    return result
