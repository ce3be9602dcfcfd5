"""For any sources and shares: no row of the main source lost or twice, and the others in turn, to the row."""

import itertools
import math
from collections import Counter
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from whisper_peft.data.batches.mixing import Ingredient, Mixture
from whisper_peft.data.batches.mixing_shares import mixing_shares
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance

rates = st.fractions(min_value=Fraction(1, 20), max_value=4, max_denominator=20)
sizes = st.integers(1, 12)


class Stream:
    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


def rows(name, count):
    return [Utterance(f"{name}/{n}", b"", "", source=name or None) for n in range(count)]


@given(
    main_rows=sizes,
    others=st.lists(st.tuples(sizes, rates, st.booleans()), max_size=3),
    main_streams=st.booleans(),
    seed=st.integers(0, 9),
    epochs=st.integers(1, 6),
)
def test_an_epoch_is_the_main_source_once_and_the_others_in_turn(
    main_rows, others, main_streams, seed, epochs
):
    kinds = {True: Stream, False: list}
    main = kinds[main_streams](rows("", main_rows))
    ingredients = [
        Ingredient(f"s{n}", kinds[streams](rows(f"s{n}", size)), rate)
        for n, (size, rate, streams) in enumerate(others)
    ]
    mixture = Mixture(main, ingredients, seed=seed)
    heard = [list(mixture.of_epoch(epoch)) for epoch in range(epochs)]
    for epoch in heard:
        assert sorted(row.id for row in epoch if row.source is None) == sorted(
            row.id for row in rows("", main_rows)
        )
        assert len({row.id for row in epoch}) == len(epoch)
    for ingredient, (size, rate, _) in zip(ingredients, others, strict=True):
        of_it = [
            row.id.partition("#")[0] for epoch in heard for row in epoch if row.source == ingredient.name
        ]
        assert len(of_it) == math.floor(epochs * main_rows * rate)
        times = Counter(of_it)
        assert all(
            times[row.id] in (len(of_it) // size, -(-len(of_it) // size))
            for row in rows(ingredient.name, size)
        )
    again = Mixture(main, ingredients, seed=seed).of_epoch(epochs - 1)
    assert [row.id for row in again] == [row.id for row in heard[-1]]


@given(
    counts=st.lists(st.integers(1, 10**6), min_size=2, max_size=5),
    temperature=st.one_of(st.floats(1, 50), st.just(math.inf)),
)
def test_shares_by_temperature_lie_between_those_by_size_and_equal_ones(counts, temperature):
    section = DataSection(mix=["a"] * (len(counts) - 1), mix_temperature=temperature)
    shares = mixing_shares(section, counts)
    assert sum(shares) == 1
    largest, smallest = max(counts), min(counts)
    total = sum(counts)
    assert float(max(shares)) <= largest / total + 1e-9
    assert float(min(shares)) >= smallest / total - 1e-9
    ordered = sorted(zip(counts, shares, strict=True))
    assert all(one <= other for (_, one), (_, other) in itertools.pairwise(ordered))
