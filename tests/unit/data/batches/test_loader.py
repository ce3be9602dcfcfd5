"""Workers: they leave signals to the training process, and say what cannot be sent to them."""

import multiprocessing
import os
import signal
import time
from contextlib import closing
from dataclasses import dataclass

import pytest

from whisper_peft.data.batches.batching import EpochPlan
from whisper_peft.data.batches.loader import StepLoader, explained_worker_loss
from whisper_peft.data.effects.augmentation import build_augmentation
from whisper_peft.errors import DataError, RecipeError, StorageError, TrainingError
from whisper_peft.recipe.sections import AugmentSection
from whisper_peft.types import Utterance


@dataclass(frozen=True)
class Slow:
    """A collator that takes its time and hands on what it is given."""

    effect: object = None

    def __call__(self, micro_batch):
        time.sleep(0.05)
        return os.getpid(), [row.id for window in micro_batch.windows for row in window]


def load(collator, workers, **options):
    rows = [Utterance(str(number), b"", "text", duration_s=1.0) for number in range(12)]
    plan = EpochPlan(rows_per_step=2, window=8, work=lambda window, epoch: 1.0)
    steps = plan.steps(rows, seed=0, epoch=0)
    loader = StepLoader(collator, rank=0, world_size=1, micro_batches=1, workers=workers, **options)
    return loader.load(steps)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_workers_too_loses_no_batch(number):
    batches = load(Slow(), workers=1)
    ((worker, first),) = next(batches)
    os.kill(worker, number)
    rest = [row for ((_, rows),) in batches for row in rows]
    assert sorted([*first, *rest], key=int) == [str(number) for number in range(12)]


def test_no_worker_is_left_when_the_batches_are_dropped():
    batches = load(Slow(), workers=2)
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert multiprocessing.active_children() == []


def test_an_effect_that_cannot_be_sent_to_workers_is_said(monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "spawn")
    effect = build_augmentation(AugmentSection(custom=(lambda waveform, rng: waveform,)))
    with pytest.raises(
        RecipeError, match=r"augment\.custom.*lambda.*top of a module, or use --train\.workers 0"
    ):
        next(load(Slow(effect), workers=1))
    assert next(load(Slow(effect), workers=0))


class Broken(Slow):
    """A collator with a bug."""

    def __call__(self, micro_batch):
        raise ZeroDivisionError


def test_no_worker_is_left_when_one_fails_though_the_error_is_kept():
    with pytest.raises(ZeroDivisionError) as kept:
        next(load(Broken(), workers=2))
    assert multiprocessing.active_children() == []
    assert kept.traceback


def test_no_worker_is_left_when_the_loop_fails_though_the_error_is_kept():
    def step():
        with closing(load(Slow(), workers=2)) as batches:
            next(batches)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as kept:
        step()
    assert multiprocessing.active_children() == []
    assert kept.traceback


class OutOfMemory(Slow):
    """A collator whose worker finds no room for its batch."""

    def __call__(self, micro_batch):
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device"
        )


def test_workers_without_shared_memory_say_so():
    with pytest.raises(StorageError, match=r"run out of shared memory.*--shm-size 2g.*--train\.workers 0"):
        next(load(OutOfMemory(), workers=1))


class Stuck(Slow):
    """A collator that waits for a drive that does not answer."""

    def __call__(self, micro_batch):
        time.sleep(60)


def test_workers_that_bring_nothing_are_named_and_ended():
    started = time.monotonic()
    with pytest.raises(
        DataError, match=r"no batch has come for 0.5 s .*\(processes \d+, \d+\).*data_timeout_s"
    ):
        next(load(Stuck(), workers=2, timeout_s=0.5))
    assert time.monotonic() - started < 30
    assert multiprocessing.active_children() == []


def test_a_worker_that_is_killed_is_said_in_a_sentence():
    def step():
        with explained_worker_loss(), closing(load(Slow(), workers=1)) as batches:
            ((worker, _),) = next(batches)
            os.kill(worker, signal.SIGKILL)
            list(batches)

    with pytest.raises(TrainingError, match=r"a data worker \(process \d+\) was killed.*--resume"):
        step()
    assert multiprocessing.active_children() == []
