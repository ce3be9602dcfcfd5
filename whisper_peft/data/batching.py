"""Which utterances make a step: a function of (rows, seed, epoch), whatever the workers and processes.

An optimiser step is planned whole, over all processes and micro-batches, and only then dealt out. So one
process with a batch of 8, two with 4, and four micro-batches of 2 take the same step; and a resumed run
replays the plan without decoding anything.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from whisper_peft.types import FRAMES_PER_SECOND, WINDOW_S, Utterance

CONTEXT_QUANTUM_FRAMES = 50
"""Cut contexts are rounded up to half seconds, so that few shapes occur."""

LENGTH_JITTER = 0.15
"""Lengths are blurred by up to this share before sorting, so that no two epochs batch alike."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """The rows that one process hears in one pass, undecoded.

    `frames` is the encoder's audio context, equal for the whole optimiser step. A micro-batch that is not
    `scored` only keeps the processes of an uneven last step together: its labels are all ignored.
    """

    epoch: int
    step_in_epoch: int
    utterances: tuple[Utterance, ...]
    frames: int
    scored: bool = True


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The rows of one optimiser step over all processes. Epochs and their steps count from 0."""

    epoch: int
    step_in_epoch: int
    utterances: tuple[Utterance, ...]
    frames: int

    def deal(self, *, rank: int, world_size: int, micro_batches: int) -> tuple[MicroBatch, ...]:
        """Return this process's micro-batches; rows are dealt like cards, so that lengths are even."""
        hands = world_size * micro_batches
        dealt = []
        for micro_batch in range(micro_batches):
            rows = self.utterances[micro_batch * world_size + rank :: hands]
            heard = rows or self.utterances[:1]
            dealt.append(MicroBatch(self.epoch, self.step_in_epoch, heard, self.frames, scored=bool(rows)))
        return tuple(dealt)


def plan_epoch(
    rows: Iterable[Utterance] | Sequence[Utterance],
    *,
    seed: int,
    epoch: int,
    rows_per_step: int,
    window: int,
    cut: bool,
    longest_stretch: float = 1.0,
) -> Iterator[StepPlan]:
    """Yield the steps of one epoch: every row once.

    A sequence is shuffled whole; a stream is shuffled within windows of `window` rows. With `cut`, rows of
    like length come together, and the audio context of a step is as long as its longest row.

    Args:
        rows: Undecoded utterances with `duration_s`.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        rows_per_step: Rows of an optimiser step over all processes and micro-batches.
        window: Rows held at a time.
        cut: Whether the audio context follows the speech; else it is 30 s.
        longest_stretch: How much longer augmentation may make an utterance, at least 1.

    Example:
        >>> rows = [Utterance(str(n), b"", "text", duration_s=float(n)) for n in range(1, 6)]
        >>> steps = list(plan_epoch(rows, seed=0, epoch=0, rows_per_step=2, window=8, cut=True))
        >>> sorted(len(step.utterances) for step in steps)
        [1, 2, 2]
    """
    rng = np.random.default_rng([seed, epoch])
    if isinstance(rows, Sequence):
        rows = [rows[place] for place in rng.permutation(len(rows))]
    for number, group in enumerate(_step_groups(iter(rows), rng, rows_per_step, window, sort=cut)):
        frames = _context_frames(group, longest_stretch) if cut else int(WINDOW_S * FRAMES_PER_SECOND)
        yield StepPlan(epoch, number, tuple(group), frames)


def _step_groups(
    rows: Iterator[Utterance], rng: np.random.Generator, rows_per_step: int, window: int, *, sort: bool
) -> Iterator[list[Utterance]]:
    """Group windows of rows into steps; what does not fill a step waits for the next window."""
    waiting: list[Utterance] = []
    while fresh := list(itertools.islice(rows, max(window, rows_per_step))):
        pool = [*waiting, *fresh]
        waiting = [pool[place] for place in rng.permutation(len(pool))]
        whole = len(waiting) // rows_per_step * rows_per_step
        groups, waiting = _groups(waiting[:whole], rng, rows_per_step, sort), waiting[whole:]
        yield from groups
    if waiting:
        yield waiting


def _groups(
    rows: list[Utterance], rng: np.random.Generator, rows_per_step: int, sort: bool
) -> list[list[Utterance]]:
    if sort:
        blur = rng.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, size=len(rows))
        order = np.argsort([(row.duration_s or WINDOW_S) * b for row, b in zip(rows, blur, strict=True)])
        rows = [rows[place] for place in order]
    groups = [rows[start : start + rows_per_step] for start in range(0, len(rows), rows_per_step)]
    return [groups[place] for place in rng.permutation(len(groups))] if sort else groups


def _context_frames(rows: Sequence[Utterance], longest_stretch: float) -> int:
    seconds = max(row.duration_s or WINDOW_S for row in rows) * longest_stretch
    return context_frames(min(seconds, WINDOW_S))


def context_frames(duration_s: float) -> int:
    """Return the log-mel frames of an audio context that holds so many seconds, in whole quanta.

    Example:
        >>> context_frames(1.01), context_frames(30.0)
        (150, 3000)
    """
    quanta = int(np.ceil(round(duration_s * FRAMES_PER_SECOND / CONTEXT_QUANTUM_FRAMES, 6)))
    return min(max(quanta, 2) * CONTEXT_QUANTUM_FRAMES, int(WINDOW_S * FRAMES_PER_SECOND))
