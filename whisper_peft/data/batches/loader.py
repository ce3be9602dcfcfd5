"""Batches ahead of the step: the plan stays here, decoding and augmentation go to worker processes."""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
import re
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from whisper_peft.data.batches.batching import MicroBatch, StepPlan
from whisper_peft.data.batches.collation import Batch, Collator
from whisper_peft.errors import DataError, RecipeError, StorageError, TrainingError
from whisper_peft.measuring import usable_cores

SHARED_MEMORY = "shared memory"
"""What torch's errors name when /dev/shm is full: in a worker, or of one that was killed by a bus error."""


TIMED_OUT = "DataLoader timed out"
"""What torch says of workers that bring nothing."""


class _Prepared(Dataset[Batch]):
    """A map from micro-batches, not from indices: the sampler hands out the work itself."""

    def __init__(self, collator: Collator) -> None:
        self.collator = collator

    def __getitem__(self, micro_batch: MicroBatch) -> Batch:
        return self.collator(micro_batch)


@dataclass(frozen=True)
class StepLoader:
    """Load one process's batches of planned steps, in order, whatever the number of workers.

    Args:
        collator: Turns a micro-batch into a batch.
        rank: Number of this process.
        world_size: Number of processes.
        micro_batches: Micro-batches to an optimiser step.
        workers: Worker processes; 0 loads in this one.
        timeout_s: Longest wait for the workers' next batch; None: as long as it takes.
        mark: Tells of the recordings in a micro-batch which are known, in this process; None: of none.
    """

    collator: Collator
    rank: int
    world_size: int
    micro_batches: int
    workers: int
    mark: Callable[[MicroBatch], MicroBatch] | None = None
    timeout_s: float | None = None

    def load(self, steps: Iterable[StepPlan]) -> Generator[tuple[Batch, ...], None, None]:
        """Yield the batches of each step.

        Raises:
            RecipeError: If an effect of one's own cannot be sent to the workers.
            StorageError: If the workers run out of shared memory.
            DataError: If they bring no batch in time.
        """
        if self.workers and multiprocessing.get_start_method() != "fork":
            _refuse_unpicklable(self.collator)
        loader = DataLoader(
            _Prepared(self.collator),
            batch_size=None,
            sampler=self._micro_batches(steps),
            num_workers=self.workers,
            worker_init_fn=_leave_signals_to_the_parent,
            prefetch_factor=2 if self.workers else None,
            timeout=self.timeout_s or 0 if self.workers else 0,
        )
        batches = iter(loader)
        try:
            while step := tuple(itertools.islice(batches, self.micro_batches)):
                yield step
        except RuntimeError as error:
            if TIMED_OUT in str(error):
                raise self._stalled(batches) from error
            if SHARED_MEMORY not in str(error):
                raise
            raise StorageError(
                "the data workers have run out of shared memory",
                "their batches come through /dev/shm, which containers often keep at 64 MB",
                "start the container with more (--shm-size 2g), or use --train.workers 0",
            ) from error
        finally:
            if isinstance(batches, _MultiProcessingDataLoaderIter):
                # an error's traceback would keep the workers, and an exit that waits for them would hang:
                # they ignore the SIGTERM that it sends
                batches._shutdown_workers()
                for worker in batches._workers:  # one that hangs ignores the signal to end
                    worker.kill()
                    worker.join()

    def _stalled(self, batches: Iterator[Batch]) -> DataError:
        workers = batches._workers if isinstance(batches, _MultiProcessingDataLoaderIter) else []
        numbers = ", ".join(str(worker.pid) for worker in workers)
        return DataError(
            f"no batch has come for {self.timeout_s:g} s from the data workers (processes {numbers})",
            "a drive that does not answer, an effect of one's own that hangs, or too little time",
            "mend that, or raise train.data_timeout_s, and go on with --resume",
        )

    def _micro_batches(self, steps: Iterable[StepPlan]) -> Iterator[MicroBatch]:
        for step in steps:
            dealt = step.deal(rank=self.rank, world_size=self.world_size, micro_batches=self.micro_batches)
            yield from dealt if self.mark is None else map(self.mark, dealt)


@contextmanager
def explained_worker_loss() -> Iterator[None]:
    """Say in a sentence that a data worker was killed; torch raises that anywhere in this process.

    Raises:
        TrainingError: If one was.
    """
    try:
        yield
    except RuntimeError as error:
        if (lost := _LOST_WORKER.search(str(error))) is None or SHARED_MEMORY in str(error):
            raise
        raise TrainingError(
            f"a data worker (process {lost[1]}) was killed",
            "by the system, which does that when memory runs short, or by hand",
            "go on with --resume; fewer --train.workers take less memory",
        ) from error


_LOST_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed|exited)")


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ignore Ctrl-C and SIGTERM in a worker, so that the training process can finish its step and save.

    Terminals and schedulers send them to the whole process group. A worker ends when its parent says so, or
    has gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _refuse_unpicklable(collator: Collator) -> None:
    try:
        pickle.dumps(collator)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise RecipeError(
            "augment.custom has an effect that cannot be sent to worker processes",
            str(error),
            "define it with `def` at the top of a module, or use --train.workers 0",
        ) from error


def choose_workers(wanted: int | None, *, processes: int = 1) -> int:
    """Return the number of worker processes: the wanted one, or a share of the cores left by training.

    More cores give at most four to each process: one decodes at hundreds of times real time.

    Example:
        >>> choose_workers(3)
        3
    """
    if wanted is not None:
        return wanted
    return max(1, min(4, usable_cores() // (2 * processes)))
