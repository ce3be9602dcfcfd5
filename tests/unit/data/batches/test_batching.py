"""The plan of an epoch: every row once, in steps of equal work, the same whatever the processes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_peft.data.batches.batching import EpochPlan, equal_shares
from whisper_peft.data.targets.windowing import Windowing
from whisper_peft.types import Utterance


def rows(count):
    return [Utterance(str(n), b"", "text", duration_s=1 + (n * 7 % 25)) for n in range(count)]


def seconds(window, epoch):
    return sum(row.duration_s for row in window)


def plan(source, epoch=0, seed=1, stitched=False, **changes):
    settings = {"rows_per_step": 4, "window": 16, "work": seconds, "windowing": Windowing(stitched)}
    return list(EpochPlan(**(settings | changes)).steps(source, seed=seed, epoch=epoch))


def ids(steps):
    return [[row.id for row in step.utterances] for step in steps]


@given(
    count=st.integers(0, 70),
    rows_per_step=st.integers(1, 9),
    window=st.integers(1, 30),
    buckets=st.booleans(),
    stitched=st.booleans(),
    seconds_per_step=st.sampled_from([None, 3.0, 40.0]),
)
def test_every_row_comes_once_in_an_epoch(count, rows_per_step, seconds_per_step, stitched, **settings):
    for source in (rows(count), iter(rows(count))):
        amount = {"rows_per_step": rows_per_step, "seconds_per_step": seconds_per_step}
        steps = plan(source, stitched=stitched, **amount, **settings)
        assert sorted(itertools.chain(*ids(steps))) == sorted(row.id for row in rows(count))
        assert all(step.windows for step in steps)
        assert [step.step_in_epoch for step in steps] == list(range(len(steps)))
        if seconds_per_step is None and not stitched:
            assert len(steps) == -(-count // rows_per_step)


@pytest.mark.parametrize("as_source", [list, iter])
@pytest.mark.parametrize("buckets", [False, True])
def test_the_plan_depends_on_seed_and_epoch_alone(as_source, buckets):
    first = ids(plan(as_source(rows(60)), buckets=buckets))
    assert first == ids(plan(as_source(rows(60)), buckets=buckets))
    assert first != ids(plan(as_source(rows(60)), buckets=buckets, epoch=1))
    assert first != ids(plan(as_source(rows(60)), buckets=buckets, seed=2))


@pytest.mark.parametrize("buckets", [False, True])
def test_epochs_group_other_rows_together(buckets):
    groups = [
        {frozenset(step) for step in ids(plan(rows(60), epoch=epoch, buckets=buckets))} for epoch in range(2)
    ]
    assert groups[0] != groups[1]


@given(hands=st.sampled_from([(1, 1), (2, 1), (1, 4), (2, 2), (4, 2)]), count=st.integers(1, 30))
def test_processes_and_micro_batches_share_a_step_without_loss(hands, count):
    world_size, micro_batches = hands
    for step in plan(rows(count), rows_per_step=8):
        dealt = [
            micro_batch
            for rank in range(world_size)
            for micro_batch in step.deal(rank=rank, world_size=world_size, micro_batches=micro_batches)
        ]
        heard = [window for micro_batch in dealt if micro_batch.scored for window in micro_batch.windows]
        assert sorted(row.id for (row,) in heard) == sorted(row.id for row in step.utterances)
        assert len(dealt) == world_size * micro_batches


def spread(work):
    return np.std(work) / np.mean(work)


def test_steps_hold_equal_work_where_equally_many_rows_would_not():
    lengths = np.random.default_rng(0).uniform(1, 26, 800)
    many = [Utterance(str(n), b"", "text", duration_s=length) for n, length in enumerate(lengths)]
    work = [sum(step.work) for step in plan(many, rows_per_step=8)]
    by_count = [sum(row.duration_s for row in many[start : start + 8]) for start in range(0, 800, 8)]
    assert len(work) == 100
    assert spread(work) < spread(by_count) / 1.4


def test_processes_get_equal_work():
    for step in plan(rows(400), rows_per_step=32):
        loads = [
            sum(
                seconds(window, 0)
                for window in step.deal(rank=rank, world_size=4, micro_batches=1)[0].windows
            )
            for rank in range(4)
        ]
        assert max(loads) - min(loads) <= max(step.work)


def test_buckets_bring_like_lengths_together():
    def spans(steps):
        lengths = [[row.duration_s for row in step.utterances] for step in steps]
        return np.mean([max(step) - min(step) for step in lengths])

    assert spans(plan(rows(200), buckets=True)) < spans(plan(rows(200))) / 3


def test_a_budget_of_audio_seconds_takes_the_place_of_rows():
    steps = plan(rows(300), seconds_per_step=60.0)
    heard = [sum(row.duration_s for row in step.utterances) for step in steps]
    assert len(steps) == pytest.approx(sum(heard) / 60, abs=1)
    assert max(heard) < 60 + 26


def test_stitched_windows_hold_at_most_whispers():
    steps = plan(rows(200), stitched=True)
    windows = [window for step in steps for window in step.windows]
    assert max(seconds(window, 0) for window in windows) <= 30
    assert np.mean([seconds(window, 0) for window in windows]) > 27
    assert len(steps) == 50


def test_a_stream_is_held_two_windows_at_a_time():
    taken = 0

    def stream():
        nonlocal taken
        for row in rows(1000):
            taken += 1
            yield row

    next(EpochPlan(rows_per_step=4, window=16, work=seconds).steps(stream(), seed=1, epoch=0))
    assert taken == 32


@given(work=st.lists(st.floats(0.1, 100), min_size=1, max_size=40), count=st.integers(1, 40))
def test_shares_are_whole_and_none_is_empty(work, count):
    shares = equal_shares(work, min(count, len(work)))
    assert len(shares) == min(count, len(work))
    assert list(itertools.chain(*shares)) == list(range(len(work)))
    assert all(len(share) for share in shares)
