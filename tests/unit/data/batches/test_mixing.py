"""Several sources in one epoch: the main one whole, the others by their shares, on through their rows."""

import itertools
from collections import Counter
from fractions import Fraction

import pytest

from whisper_peft.data.batches.batching import EpochPlan
from whisper_peft.data.batches.mixing import Ingredient, Mixture
from whisper_peft.errors import DataError
from whisper_peft.types import Utterance


def rows(name, count):
    return [
        Utterance(f"{name}{n}", b"", "text", duration_s=1.0 + n * 7 % 5, source=name or None)
        for n in range(count)
    ]


class Stream:
    """An iterable of rows that is no sequence, and counts how many rows were read."""

    def __init__(self, rows):
        self.rows, self.read = rows, 0

    def __iter__(self):
        for row in self.rows:
            self.read += 1
            yield row


def ids(mixture, epoch):
    return [row.id for row in mixture.of_epoch(epoch)]


def drawn(mixture, epoch, source):
    return [row.id for row in mixture.of_epoch(epoch) if row.source == source]


def plain(row_id):
    return row_id.partition("#")[0]


KINDS = {
    "local": lambda rows: rows,
    "stream": Stream,
}


@pytest.fixture(params=itertools.product(KINDS, KINDS), ids="-".join)
def kinds(request):
    """Return what the main and the other source are made."""
    return tuple(KINDS[kind] for kind in request.param)


def test_every_epoch_takes_each_row_of_the_main_source_once(kinds):
    main, other = kinds
    mixture = Mixture(main(rows("", 7)), [Ingredient("b", other(rows("b", 3)), Fraction(1, 2))], seed=1)
    for epoch in range(4):
        assert sorted(row.id for row in mixture.of_epoch(epoch) if row.source is None) == sorted(
            row.id for row in rows("", 7)
        )


def test_shares_hold_to_a_row_at_any_point_of_the_run(kinds):
    main, other = kinds
    rate = Fraction(3, 10)
    mixture = Mixture(main(rows("", 7)), [Ingredient("b", other(rows("b", 5)), rate)], seed=1)
    heard = Counter()
    for row in itertools.chain.from_iterable(mixture.of_epoch(epoch) for epoch in range(5)):
        heard[row.source] += 1
        assert -1 < heard["b"] - rate * heard[None] <= 0 or row.source is None


def test_a_larger_source_is_heard_to_its_end_before_any_row_comes_again(kinds):
    main, other = kinds
    mixture = Mixture(main(rows("", 4)), [Ingredient("b", other(rows("b", 6)), Fraction(1, 2))], seed=1)
    heard = [row_id for epoch in range(6) for row_id in drawn(mixture, epoch, "b")]
    assert sorted(heard[:6]) == sorted(heard[6:12]) == [f"b{n}" for n in range(6)]


def test_a_smaller_source_is_repeated_within_an_epoch_under_other_ids(kinds):
    main, other = kinds
    mixture = Mixture(main(rows("", 9)), [Ingredient("b", other(rows("b", 3)), Fraction(1))], seed=1)
    heard = drawn(mixture, 0, "b")
    assert Counter(map(plain, heard)) == {"b0": 3, "b1": 3, "b2": 3}
    assert len(set(heard)) == 9
    assert {"b0", "b0#2", "b0#3"} <= set(heard)


def test_an_epoch_hangs_on_seed_and_number_alone(kinds):
    main, other = kinds

    def fresh(seed=1):
        others = [Ingredient("b", other(rows("b", 5)), Fraction(3, 4))]
        return Mixture(main(rows("", 6)), others, seed=seed)

    once = fresh()
    in_order = [ids(once, epoch) for epoch in range(5)]
    assert [ids(fresh(), epoch) for epoch in range(5)] == in_order
    assert [ids(once, epoch) for epoch in (3, 1, 4)] == [in_order[epoch] for epoch in (3, 1, 4)]


def test_another_seed_or_pass_has_another_order_of_local_rows():
    def order(seed):
        mixture = Mixture(rows("", 20), [Ingredient("b", rows("b", 20), Fraction(1))], seed=seed)
        return [tuple(drawn(mixture, epoch, "b")) for epoch in range(2)]

    assert len({*order(1), *order(2)}) == 4


def test_a_source_more_changes_nothing_of_the_others():
    two = [Ingredient(name, rows(name, 5), Fraction(1, 2)) for name in "bc"]
    alone, both = (Mixture(rows("", 8), others, seed=1) for others in (two[:1], two))
    assert drawn(alone, 3, "b") == drawn(both, 3, "b")


def test_one_corpus_twice_is_two_sources():
    corpus = rows("", 6)
    others = [Ingredient(name, [*corpus], Fraction(1, 2)) for name in ("b", "c")]
    mixture = Mixture(corpus, others, seed=1)
    assert len(ids(mixture, 0)) == 12


def test_of_streams_one_row_is_held_at_a_time():
    main, other = Stream(rows("", 50)), Stream(rows("b", 50))
    epoch = iter(Mixture(main, [Ingredient("b", other, Fraction(1, 2))], seed=1).of_epoch(0))
    list(itertools.islice(epoch, 9))
    assert main.read == 6
    assert other.read == 3


def test_later_epochs_of_streams_read_on():
    other = Stream(rows("b", 1000))
    mixture = Mixture(Stream(rows("", 10)), [Ingredient("b", other, Fraction(1))], seed=1)
    for epoch in range(5):
        ids(mixture, epoch)
    assert other.read == 50


def test_a_far_position_of_a_known_stream_is_reached_without_reading_every_pass():
    other = Stream(rows("b", 7))
    mixture = Mixture(rows("", 100), [Ingredient("b", other, Fraction(1))], seed=1)
    ids(mixture, 0)
    other.read = 0
    ids(mixture, 90)
    assert other.read < 120


def test_a_stream_without_rows_is_refused_by_name():
    mixture = Mixture(rows("", 3), [Ingredient("empty", Stream([]), Fraction(1))], seed=1)
    with pytest.raises(DataError, match="the source empty of"):
        ids(mixture, 0)


def test_the_rows_of_an_epoch_are_known_where_the_main_source_is_local():
    others = [Ingredient("b", Stream(rows("b", 5)), Fraction(3, 4))]
    assert Mixture(rows("", 6), others, seed=1).rows_in_epoch == len(
        ids(Mixture(rows("", 6), others, seed=1), 0)
    )
    assert Mixture(Stream(rows("", 6)), others, seed=1).rows_in_epoch is None


def test_every_row_is_known_where_all_sources_are_local():
    mixture = Mixture(rows("", 6), [Ingredient("b", rows("b", 5), Fraction(1, 9))], seed=1)
    assert len(mixture.every_row) == 11
    assert Mixture(rows("", 6), [Ingredient("b", Stream([]), Fraction(1))], seed=1).every_row is None


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_steps_hold_every_row_of_a_mixture_once_and_equal_work(kind):
    mixture = Mixture(kind(rows("", 40)), [Ingredient("b", rows("b", 15), Fraction(1, 4))], seed=1)
    plan = EpochPlan(rows_per_step=5, window=16, work=lambda window, epoch: window[0].duration_s)
    steps = list(plan.steps(mixture.of_epoch(2), seed=1, epoch=2))
    assert sorted(row.id for step in steps for row in step.utterances) == sorted(ids(mixture, 2))
    assert len(steps) == 10
    work = [sum(step.work) for step in steps]
    assert max(work) < 3 * min(work)


def test_processes_hear_a_mixture_without_a_row_twice_or_lost(kinds):
    main, other = kinds
    plan = EpochPlan(rows_per_step=6, window=16, work=lambda window, epoch: window[0].duration_s)

    def steps():
        others = [Ingredient("b", other(rows("b", 5)), Fraction(1, 2))]
        return plan.steps(Mixture(main(rows("", 31)), others, seed=1).of_epoch(1), seed=1, epoch=1)

    heard = [
        row.id
        for rank in range(3)
        for step in steps()
        for micro_batch in step.deal(rank=rank, world_size=3, micro_batches=1)
        if micro_batch.scored
        for window in micro_batch.windows
        for row in window
    ]
    assert sorted(heard) == sorted(row.id for step in steps() for row in step.utterances)
    assert len(heard) == len(set(heard)) == 31 + 16
