import inspect

import pytest

from whisper_peft.errors import RecipeError
from whisper_peft.recipe.compose import compose
from whisper_peft.recipe.overrides import explicit_fields
from whisper_peft.recipe.parts import (
    augment,
    full,
    int8,
    librispeech,
    lora,
    merging,
    mix,
    nf4,
    replay,
    schedule,
    scoring,
    speech,
    whisper,
)
from whisper_peft.recipe.sections import Recipe, Speed, TrainSection


def test_a_part_sets_only_what_it_is_given():
    recipe = schedule(max_steps=5)(Recipe())
    assert explicit_fields(recipe) == {"train": {"max_steps": 5}}


def test_the_later_part_wins_and_keeps_the_rest():
    recipe = compose(schedule(max_steps=5, seed=1), schedule(max_steps=9))
    assert (recipe.train.max_steps, recipe.train.seed) == (9, 1)


def test_librispeech_leaves_its_default_splits_unnamed():
    assert explicit_fields(librispeech()(Recipe())) == {"data": {"source": "openslr/librispeech_asr"}}


def test_librispeech_can_lie_in_a_folder():
    assert librispeech(source="LibriSpeech")(Recipe()).data.source == "LibriSpeech"


def test_every_part_reaches_its_section():
    recipe = compose(
        whisper("openai/whisper-base", language="fr"),
        int8(),
        speech("folder", train="a", eval="b"),
        augment(speed=Speed(p=1.0)),
        full(),
        lora(r=4),
        scoring(steps=10),
        merging(clips=2),
        name="mine",
    )
    assert (recipe.name, recipe.model.name, recipe.model.language, recipe.model.quantize) == (
        "mine",
        "openai/whisper-base",
        "fr",
        "int8",
    )
    assert (recipe.data.source, recipe.data.train, recipe.augment.speed.p) == ("folder", "a", 1.0)
    assert (recipe.adapter.method, recipe.adapter.r) == ("lora", 4)
    assert (recipe.eval.steps, recipe.merge.clips) == (10, 2)
    assert compose(int8(), nf4()).model.quantize == "nf4"


def test_every_source_that_is_mixed_in_is_added():
    recipe = compose(
        speech("fr"), mix("a", weight=2), replay("b"), replay("c", share=0.2), replay("d", weight=1)
    )
    assert [(one.source, one.weight, one.share) for one in recipe.data.mix] == [
        ("a", 2, None),
        ("b", None, 0.1),
        ("c", None, 0.2),
        ("d", 1, None),
    ]
    assert recipe.data.source == "fr"


def test_a_wrong_field_of_a_mixed_source_is_refused_where_the_part_is_made():
    with pytest.raises(RecipeError, match=r"data\.mix\.wieght is not a field"):
        mix("a", wieght=2)
    with pytest.raises(RecipeError, match=r"data\.mix\.share is 2"):
        replay("a", share=2)


def test_a_wrong_field_is_refused_where_the_part_is_made():
    with pytest.raises(RecipeError, match=r"train\.max_step is not a field - did you mean train\.max_steps"):
        schedule(max_step=3)
    with pytest.raises(RecipeError, match=r"augment\.speed\.p is 3"):
        augment(speed={"p": 3})


def test_the_signature_is_that_of_the_section():
    assert list(inspect.signature(schedule).parameters) == list(TrainSection.model_fields)
    first, *others = inspect.signature(whisper).parameters.values()
    assert (first.name, first.kind, first.default) == (
        "name",
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.empty,
    )
    assert all(other.kind is inspect.Parameter.KEYWORD_ONLY for other in others)


def test_compose_takes_a_users_own_part():
    recipe = compose(lambda recipe: schedule(seed=3)(recipe))
    assert recipe.train.seed == 3


def test_compose_refuses_what_is_no_part():
    with pytest.raises(RecipeError, match="a part is a function from recipe to recipe"):
        compose(Recipe())
