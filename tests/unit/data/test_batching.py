"""The plan of an epoch: every row once, the same whatever the processes, cut to the longest row."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_peft.data.batching import context_frames, plan_epoch
from whisper_peft.types import Utterance


def rows(count):
    return [Utterance(str(n), b"", "text", duration_s=1 + (n * 7 % 25)) for n in range(count)]


def plan(source, **changes):
    settings = {"seed": 1, "epoch": 0, "rows_per_step": 4, "window": 16, "cut": True}
    return list(plan_epoch(source, **(settings | changes)))


def ids(steps):
    return [[row.id for row in step.utterances] for step in steps]


@given(
    count=st.integers(0, 70), rows_per_step=st.integers(1, 9), window=st.integers(1, 30), cut=st.booleans()
)
def test_every_row_comes_once_in_an_epoch(count, rows_per_step, window, cut):
    for source in (rows(count), iter(rows(count))):
        steps = plan(source, rows_per_step=rows_per_step, window=window, cut=cut)
        assert sorted(itertools.chain(*ids(steps))) == sorted(row.id for row in rows(count))
        assert len(steps) == -(-count // rows_per_step)


@pytest.mark.parametrize("as_source", [list, iter])
def test_the_plan_depends_on_seed_and_epoch_alone(as_source):
    first = ids(plan(as_source(rows(60))))
    assert first == ids(plan(as_source(rows(60))))
    assert first != ids(plan(as_source(rows(60)), epoch=1))
    assert first != ids(plan(as_source(rows(60)), seed=2))


def test_epochs_group_other_rows_together():
    groups = [{frozenset(step) for step in ids(plan(rows(60), epoch=epoch))} for epoch in range(2)]
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
        heard = [row.id for micro_batch in dealt if micro_batch.scored for row in micro_batch.utterances]
        assert sorted(heard) == sorted(row.id for row in step.utterances)
        assert len(dealt) == world_size * micro_batches
        assert {micro_batch.frames for micro_batch in dealt} == {step.frames}


def test_the_context_holds_the_longest_row_of_the_whole_step():
    for step in plan(rows(60)):
        longest = max(row.duration_s for row in step.utterances)
        assert longest * 100 <= step.frames < longest * 100 + 50


def test_cutting_costs_less_than_half_of_what_a_shuffled_plan_would():
    sorted_frames = sum(step.frames for step in plan(rows(200), window=200))
    full_frames = sum(step.frames for step in plan(rows(200), window=200, cut=False))
    assert sorted_frames < full_frames / 2


def test_slower_speech_gets_more_context():
    step = plan(rows(4), longest_stretch=1.25)[0]
    assert step.frames >= max(row.duration_s for row in step.utterances) * 125


def test_no_context_is_longer_than_whispers_window():
    long = [Utterance("long", b"", "text", duration_s=29.9)]
    assert plan(long, longest_stretch=1.25)[0].frames == 3000 == context_frames(30.0)
    assert plan([Utterance("unknown", b"", "text")])[0].frames == 3000


def test_a_stream_is_held_a_window_at_a_time():
    taken = 0

    def stream():
        nonlocal taken
        for row in rows(1000):
            taken += 1
            yield row

    next(plan_epoch(stream(), seed=1, epoch=0, rows_per_step=4, window=16, cut=True))
    assert taken == 16
