"""Sources of a mixture in words, as a command line has them."""

import pytest

from whisper_peft.errors import RecipeError
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import MixedSource, Recipe


def mix(value):
    return apply_overrides(Recipe(), {"data": {"mix": value}}).data.mix


def test_a_word_is_a_source_with_its_weight_or_share():
    first, second, third = mix(["a/b=0.25", "c.jsonl=10%", "owner/name"])
    assert (first.source, first.weight, first.share) == ("a/b", 0.25, None)
    assert (second.source, second.weight, second.share) == ("c.jsonl", None, 0.1)
    assert (third.source, third.weight, third.share) == ("owner/name", None, None)


def test_words_after_a_source_are_its_fields():
    first, second = mix(["a=0.25", "language=en", "eval=None", "b", "train=all", "text_column=words=1"])
    assert (first.language, first.eval) == ("en", None)
    assert (second.train, second.text_column, second.language) == ("all", "words=1", None)


def test_one_source_need_not_be_in_a_list():
    assert (
        mix("a=1")
        == mix(["a=1"])
        == mix({"source": "a", "weight": 1})
        == mix(MixedSource(source="a", weight=1))
    )


def test_words_and_values_may_stand_side_by_side():
    first, second = mix([{"source": "a"}, "weight=2", MixedSource(source="b", weight=1)])
    assert (first.weight, second.weight) == (2, 1)


def test_a_path_that_holds_an_equals_sign_is_a_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run=3").mkdir()
    first, second = mix(["run=3", "./run=3=0.5"])
    assert (first.source, first.weight) == ("run=3", None)
    assert (second.source, second.weight) == ("./run=3", 0.5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["a", "langage=en"], r"'langage=en' is no source with its weight or share; did you mean language\?"),
        (["a", "weigt=3"], r"'weigt=3' is no source with its weight or share; did you mean weight\?"),
        (["language=en"], "'language=en' comes before any source; write SOURCE=WEIGHT"),
        (["=0.2"], "'=0.2' is no source"),
        (["a=nan"], "'a=nan' is no source"),
        (["a=inf%"], "'a=inf%' is no source"),
        (["a=0"], r"data\.mix\.0\.weight is 0\.0 - it should be greater than 0"),
        (["a=-1"], r"data\.mix\.0\.weight is -1\.0"),
        (["a=0%"], r"data\.mix\.0\.share is 0\.0"),
        (["a=100%"], r"data\.mix\.0\.share is 1\.0 - it should be less than 1"),
        (["a", "weight=much"], r"data\.mix\.0\.weight is 'much'"),
        (["a", "task=sing"], r"data\.mix\.0\.task is 'sing' - not one of its values"),
        ([{"weight": 1}], r"data\.mix\.0\.source is missing"),
        ([{"source": "a"}, {"source": "b", "wieght": 1}], r"mix\.1\.wieght is not a field - did you mean"),
        ([3], r"data\.mix\.0 is 3 - it should be fields with their values"),
        (3, r"data\.mix is 3"),
        ([""], r"data\.mix\.0\.source is '' - an empty text names nothing"),
    ],
)  # fmt: skip
def test_what_is_unfit_is_told_in_a_sentence(value, message):
    with pytest.raises(RecipeError, match=message):
        mix(value)


@pytest.mark.parametrize("temperature", [0.5, 0, -1, float("nan")])
def test_a_temperature_below_one_would_hear_more_of_what_is_large(temperature):
    with pytest.raises(RecipeError, match=r"data\.mix_temperature is .* greater than or equal to 1"):
        apply_overrides(Recipe(), {"data.mix_temperature": temperature})
