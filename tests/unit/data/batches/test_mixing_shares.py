"""How much of an epoch each source takes: by weight, by share, or by its size and a temperature."""

import math
from fractions import Fraction

import pytest

from whisper_peft.data.batches.mixing_shares import mixing_shares, refuse_unfit_mix
from whisper_peft.errors import RecipeError
from whisper_peft.recipe.sections import DataSection


def shares(rows, **fields):
    return [float(share) for share in mixing_shares(DataSection(**fields), rows)]


def test_weights_are_relative_to_the_main_source():
    assert shares([10, 20], mix=["a=1"]) == [0.5, 0.5]
    assert shares([10, 20], mix=["a=1"], weight=3) == [0.75, 0.25]


def test_a_share_is_of_the_whole_epoch():
    assert shares([10, 20, 30], mix=["a=10%", "b=20%"]) == [0.7, 0.1, 0.2]


def test_weights_divide_what_shares_leave():
    assert shares([10, 20, 30], mix=["a=20%", "b=3"]) == pytest.approx([0.2, 0.2, 0.6])


def test_a_share_gives_exactly_as_many_rows_as_it_says():
    main, other = mixing_shares(DataSection(mix=["a=10%"]), [9, 100])
    assert 9 * (other / main) == 1


def test_temperature_one_takes_all_rows_of_all_sources():
    main, first, second = mixing_shares(DataSection(mix=["a", "b"]), [30, 10, 7])
    assert (30 * first / main, 30 * second / main) == (10, 7)


def test_an_endless_temperature_takes_equally_many_of_each():
    assert shares([900, 10, 5], mix=["a", "b"], mix_temperature=math.inf) == pytest.approx([1 / 3] * 3)


def test_temperatures_between_lift_the_small_sources_as_published():
    low, middle, high = (shares([1000, 10], mix=["a"], mix_temperature=t)[1] for t in (1, 5, 100))
    assert low < middle < high < 0.5
    assert middle == pytest.approx(10**0.2 / (10**0.2 + 1000**0.2))


def test_a_stream_takes_part_by_weight_or_share_alone():
    assert shares([None, None], mix=["a=25%"]) == [0.75, 0.25]
    with pytest.raises(
        RecipeError, match=r"data\.mix\.0 is a stream, and data\.mix gives no weight.*SOURCE=20%"
    ):
        shares([10, None], mix=["a"])
    with pytest.raises(RecipeError, match=r"data\.source is a stream"):
        shares([None, 10], mix=["a"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mix": [{"source": "a", "weight": 1, "share": 0.5}]}, "has the weight 1 and the share 0.5"),
        ({"mix": ["a=60%", "b=40%"]}, "come to 100 % - nothing is left for data.source"),
        ({"mix": ["a=1", "b"]}, r"data\.mix\.1 has no weight, and data\.mix\.0 has one"),
        ({"mix": ["a"], "weight": 2}, r"data\.weight is 2, and no source of data\.mix has a weight"),
        ({"weight": 2}, r"data\.weight is 2"),
        ({"mix": ["a=1"], "mix_temperature": 3}, r"data\.mix_temperature is 3, and no source"),
        ({"mix_temperature": 3}, r"data\.mix_temperature is 3"),
        ({"mix": ["a=1", "train=None"]}, r"data\.mix\.0 has a weight or a share, and its train is None"),
        ({"mix": ["a", "train=None", "eval=None"]}, r"train and eval of data\.mix\.0 are None"),
    ],
)
def test_what_contradicts_itself_or_has_no_effect_is_refused_in_a_sentence(fields, message):
    with pytest.raises(RecipeError, match=message):
        refuse_unfit_mix(DataSection(**fields))


def test_what_is_only_scored_takes_no_share():
    assert shares([10, 20], mix=["a", "train=None", "b=25%"]) == [0.75, 0.25]
    assert shares([10], mix=["a", "train=None"]) == [1]


def test_shares_are_exact_fractions_that_come_to_one():
    assert sum(mixing_shares(DataSection(mix=["a=0.3", "b=7", "c=12.5%"]), [3, 4, 5, 6])) == Fraction(1)
