"""A stream's steps from the middle of an epoch are those of a run that was never stopped."""

import itertools
import json
from collections import Counter

import pytest

from whisper_peft.data.batches.batching import EpochPlan
from whisper_peft.data.batches.stream_pools import StreamPlace
from whisper_peft.types import Utterance


class Numbered:
    """Rows of which some are refused; notes from where it is read."""

    def __init__(self, count, refused=()):
        self.count, self.refused = count, set(refused)
        self.left_out, self.started = Counter(), []

    def __iter__(self):
        return (row for _, row in self.numbered(StreamPlace(), epoch=0))

    def numbered(self, place, *, epoch):
        self.started.append(place.start)
        if place.fresh:
            self.left_out = Counter(place.left_out)
        for number in range(place.start, self.count):
            if number not in self.refused:
                yield number, Utterance(str(number), b"", "text", duration_s=1.0 + number * 37 % 11)
            elif epoch == 0 and number >= place.fresh:
                self.left_out["refused"] += 1


def plan(**changes):
    settings = {"rows_per_step": 4, "window": 10, "work": lambda window, epoch: window[0].duration_s}
    return EpochPlan(**{**settings, **changes})


def plain(steps):
    return [(step.step_in_epoch, [row.id for row in step.utterances]) for step in steps]


PLANS = {
    "rows": {},
    "seconds": {"seconds_per_step": 17.0},
    "buckets": {"buckets": True},
    "a window smaller than a step": {"window": 3},
    "one row at a time": {"window": 1, "rows_per_step": 1},
}


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize("epoch", [0, 3])
def test_the_steps_from_any_place_on_are_those_that_would_have_come(kind, epoch):
    made, refused = plan(**PLANS[kind]), range(0, 57, 6)
    whole = list(made.steps(Numbered(57, refused), seed=1, epoch=epoch))
    heard = list(itertools.chain.from_iterable(ids for _, ids in plain(whole)))
    assert sorted(map(int, heard)) == [number for number in range(57) if number % 6]
    for step in whole:
        stored = StreamPlace.of_dict(json.loads(json.dumps(step.place.to_dict())))
        again = Numbered(57, refused)
        rest = made.steps(again, seed=1, epoch=epoch, place=stored)
        assert plain(one for one in rest if one.step_in_epoch >= step.step_in_epoch) == plain(
            whole[step.step_in_epoch :]
        )
        assert again.left_out["refused"] == (10 if epoch == 0 else 0)


def test_a_place_is_at_most_a_few_windows_back():
    made, rows = plan(), Numbered(400)
    *_, last = made.steps(rows, seed=0, epoch=0)
    assert last.place.start > 350
    later = Numbered(400)
    list(made.steps(later, seed=0, epoch=0, place=last.place))
    assert later.started == [last.place.start]


def test_the_row_before_is_read_too_so_that_it_can_tell_what_was_said():
    *_, last = plan().steps(Numbered(90, refused=range(60, 75)), seed=0, epoch=0)
    wanted = min([*last.place.waiting, last.place.fresh])
    assert last.place.start < wanted
    assert last.place.start not in range(60, 75)


def test_a_stream_without_numbers_has_no_place():
    rows = (Utterance(str(number), b"", "text", duration_s=1.0) for number in range(25))
    assert all(step.place is None for step in plan().steps(rows, seed=0, epoch=0))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [23, 24, 25])
def test_processes_hear_each_row_of_a_stream_once_though_the_end_is_uneven(world_size, rows):
    heard, lengths = Counter(), set()
    for rank in range(world_size):
        steps = plan(rows_per_step=4 * world_size).steps(Numbered(rows), seed=0, epoch=0)
        dealt = [step.deal(rank=rank, world_size=world_size, micro_batches=2) for step in steps]
        lengths.add(len(dealt))
        for micro_batch in itertools.chain.from_iterable(dealt):
            if micro_batch.scored:
                heard.update(row.id for window in micro_batch.windows for row in window)
    assert heard == Counter({str(number): 1 for number in range(rows)})
    assert len(lengths) == 1
