"""Which utterances make a step: a function of (rows, seed, epoch), whatever the workers and processes.

An optimiser step is planned whole, over all processes and micro-batches, and only then dealt out. So one
process with a batch of 8, two with 4, and four micro-batches of 2 take the same step; and a resumed run
replays the plan without decoding anything.

Steps hold equal work, not equally many rows: a batch of long utterances would take most of the memory and of
the time, and weigh no more in the gradient than one of prompts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from whisper_peft.data.batches.stream_pools import Pool, StreamPlace, stream_pools
from whisper_peft.data.targets.windowing import Windowing
from whisper_peft.types import WINDOW_S, Utterance

LENGTH_JITTER = 0.15
"""Lengths are blurred by up to this share before sorting, so that no two epochs batch alike."""

Window: TypeAlias = tuple[Utterance, ...]
"""What the encoder hears in one piece: an utterance, or several stitched together."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a window is recognised by when it comes again, and what was noted of it.

    Attributes:
        digest: Of the recording's content; empty where it cannot be told.
        samples: At 16 kHz, and
        frames: of its audio context. Both are 0 as long as it has to be heard.
    """

    digest: bytes = b""
    samples: int = 0
    frames: int = 0

    @property
    def is_known(self) -> bool:
        """Whether it need not be heard again: only its labels are wanted."""
        return self.frames > 0


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """The windows that one process hears in one pass, undecoded.

    A micro-batch that is not `scored` only keeps the processes of an uneven last step together: its labels
    are all ignored. Where recordings are recognised, `recordings` has one for each window.
    """

    epoch: int
    step_in_epoch: int
    windows: tuple[Window, ...]
    scored: bool = True
    recordings: tuple[Recording, ...] = ()


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The windows of one optimiser step over all processes, and their work. Counts are from 0.

    `place` is where the pool that it is of begins, in a stream that can begin there again.
    """

    epoch: int
    step_in_epoch: int
    windows: tuple[Window, ...]
    work: tuple[float, ...]
    place: StreamPlace | None = None

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """The rows of the step."""
        return tuple(itertools.chain.from_iterable(self.windows))

    def deal(self, *, rank: int, world_size: int, micro_batches: int) -> tuple[MicroBatch, ...]:
        """Return this process's micro-batches, of equal work as far as whole windows allow."""
        hands = self._hands(world_size * micro_batches)
        lightest = self.windows[int(np.argmin(self.work))]
        return tuple(
            MicroBatch(self.epoch, self.step_in_epoch, tuple(hand) or (lightest,), scored=bool(hand))
            for hand in hands[rank::world_size]
        )

    def _hands(self, count: int) -> list[list[Window]]:
        """Give the windows, heaviest first, each to the hand that has least to do."""
        hands: list[list[Window]] = [[] for _ in range(count)]
        loads = [0.0] * count
        for place in sorted(range(len(self.windows)), key=lambda place: -self.work[place]):
            lightest = loads.index(min(loads))
            hands[lightest].append(self.windows[place])
            loads[lightest] += self.work[place]
        return hands


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """How the rows of an epoch become steps.

    A sequence is shuffled whole; a stream is shuffled within pools of `window` rows, and what does not fill a
    step waits for the next pool.

    Args:
        rows_per_step: Utterances in an optimiser step over all processes and micro-batches, on average.
        seconds_per_step: Audio seconds in a step, in place of `rows_per_step`.
        window: Rows of a stream held at a time.
        work: What a window costs, given its utterances and the epoch.
        buckets: Whether windows of like work come together in a step.
        windowing: Makes windows of rows.

    Example:
        >>> rows = [Utterance(str(n), b"", "text", duration_s=float(n)) for n in range(1, 6)]
        >>> plan = EpochPlan(rows_per_step=2, window=8, work=lambda window, epoch: 1.0)
        >>> sorted(len(step.utterances) for step in plan.steps(rows, seed=0, epoch=0))
        [1, 2, 2]
    """

    rows_per_step: int
    window: int
    work: Callable[[Window, int], float]
    seconds_per_step: float | None = None
    buckets: bool = False
    windowing: Windowing = field(default_factory=Windowing)

    def steps(
        self,
        rows: Iterable[Utterance] | Sequence[Utterance],
        *,
        seed: int,
        epoch: int,
        place: StreamPlace | None = None,
    ) -> Iterator[StepPlan]:
        """Yield the steps of one epoch: every row once.

        Args:
            rows: Undecoded utterances with `duration_s`.
            seed: Seed of the run.
            epoch: Number of the epoch, from 0.
            place: Where a pool of the stream begins, as a step of an earlier pass has it; its steps and those
                after them are yielded.
        """
        number = place.step if place else 0
        for pool in self._pools(rows, seed, epoch, place):
            begins = replace(pool.place, step=number) if pool.place else None
            for windows, work in self._groups(pool, epoch):
                yield StepPlan(epoch, number, tuple(windows), tuple(work), begins)
                number += 1

    def _pools(
        self, rows: Iterable[Utterance], seed: int, epoch: int, place: StreamPlace | None
    ) -> Iterator[Pool]:
        """Yield shuffled pools of rows, each a whole number of steps but for the last."""
        if not isinstance(rows, Sequence):
            yield from stream_pools(
                rows,
                window=self.window,
                at_least=self.rows_per_step,
                whole=self._whole,
                seed=seed,
                epoch=epoch,
                place=place,
            )
        elif rows:
            rng = np.random.default_rng([seed, epoch])
            yield Pool([rows[one] for one in rng.permutation(len(rows))], True, None, rng)

    def _whole(self, pool: Sequence[Utterance]) -> int:
        """Return how many rows of a pool make whole steps."""
        steps = self._step_count(pool)
        return int(len(pool) * math.floor(steps) / steps) if steps >= 1 else 0

    def _step_count(self, pool: Sequence[Utterance]) -> float:
        if self.seconds_per_step is None:
            return len(pool) / self.rows_per_step
        return sum(row.duration_s or WINDOW_S for row in pool) / self.seconds_per_step

    def _groups(self, pool: Pool, epoch: int) -> Iterator[tuple[list[Window], list[float]]]:
        if not pool.rows:
            return
        steps, rng = self._step_count(pool.rows), pool.rng
        windows = self.windowing(pool.rows, rng)
        work = [self.work(window, epoch) for window in windows]
        if self.buckets:
            blur = rng.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, size=len(work))
            order = np.argsort(np.array(work) * blur, kind="stable")
            windows, work = [windows[place] for place in order], [work[place] for place in order]
        count = max(1, math.ceil(round(steps, 6)) if pool.is_last else round(steps))
        groups = equal_shares(work, min(count, len(windows)))
        for place in rng.permutation(len(groups)) if self.buckets else range(len(groups)):
            yield [windows[one] for one in groups[place]], [work[one] for one in groups[place]]


def equal_shares(work: Sequence[float], count: int) -> list[range]:
    """Cut a row of things into `count` runs of about equal work, none of them empty.

    Example:
        >>> [list(share) for share in equal_shares([1, 1, 1, 1, 4], 2)]
        [[0, 1, 2, 3], [4]]
    """
    total, spent, starts = sum(work), 0.0, [0]
    for place, cost in enumerate(work):
        missing = count - len(starts)
        due = spent + cost / 2 > total * len(starts) / count or len(work) - place == missing
        if place > starts[-1] and missing and due:
            starts.append(place)
        spent += cost
    return [range(start, end) for start, end in itertools.pairwise([*starts, len(work)])]
