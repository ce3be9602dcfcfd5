import pytest

from whisper_peft.errors import RecipeError
from whisper_peft.recipe.overrides import apply_overrides, explicit_fields, field_names, suggest_field
from whisper_peft.recipe.sections import Noise, Recipe, TrainSection


def test_dotted_nested_and_section_overrides_mean_the_same():
    dotted = apply_overrides(Recipe(), {"train.max_steps": 3})
    nested = apply_overrides(Recipe(), {"train": {"max_steps": 3}})
    section = apply_overrides(Recipe(), {"train": TrainSection(max_steps=3)})
    assert dotted == nested == section == Recipe(train=TrainSection(max_steps=3))


def test_an_override_leaves_what_it_does_not_name():
    recipe = apply_overrides(Recipe(), {"train": {"seed": 7, "epochs": 2}})
    changed = apply_overrides(recipe, {"train.epochs": 4})
    assert (changed.train.seed, changed.train.epochs) == (7, 4)


def test_the_given_recipe_does_not_change():
    recipe = Recipe()
    apply_overrides(recipe, {"train.seed": 7})
    assert recipe == Recipe()


def test_named_fields_stay_apart_from_defaults():
    recipe = apply_overrides(Recipe(), {"data.eval": "validation.clean"})
    assert recipe == Recipe()
    assert explicit_fields(recipe) == {"data": {"eval": "validation.clean"}}
    assert explicit_fields(apply_overrides(recipe, {"train.seed": 1}))["data"] == {"eval": "validation.clean"}


def test_sections_inside_sections_are_reached():
    recipe = apply_overrides(Recipe(), {"augment.noise.p": 0.5, "augment": {"noise": {"snr_db": [0, 10]}}})
    assert recipe.augment.noise == Noise(p=0.5, snr_db=(0, 10))


def test_every_problem_is_told_at_once():
    with pytest.raises(RecipeError) as caught:
        apply_overrides(Recipe(), {"train": {"max_steps": 0, "epochs": "many"}, "model.quantize": "int4"})
    message = str(caught.value)
    assert "3 fields need a change" in message
    assert "train.max_steps is 0 - it should be greater than or equal to 1" in message
    assert "train.epochs is 'many'" in message
    assert "model.quantize is 'int4'" in message


def test_a_message_has_the_value_the_reason_and_the_meaning():
    with pytest.raises(RecipeError) as caught:
        apply_overrides(Recipe(), {"train.max_steps": 0})
    assert caught.value.what == "train.max_steps is 0"
    assert caught.value.why == "it should be greater than or equal to 1"
    assert caught.value.todo.startswith("Optimiser steps.")


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("train.max_step", "did you mean train.max_steps?"),
        ("max_steps", "did you mean train.max_steps?"),
        ("trian.max_steps", "did you mean train.max_steps?"),
        ("trian", "did you mean train?"),
        ("augment.noise.snr", "did you mean augment.noise.snr_db?"),
    ],
)
def test_an_unknown_field_suggests_the_nearest(name, suggestion):
    assert suggestion in suggest_field(name)


def test_an_unknown_field_is_refused_with_its_dotted_name():
    with pytest.raises(
        RecipeError, match=r"train\.max_step is not a field - did you mean train\.max_steps\?"
    ):
        apply_overrides(Recipe(), {"train": {"max_step": 3}})


def test_a_wrong_choice_names_the_choices():
    with pytest.raises(RecipeError, match=r"did you mean cosine\? Known: constant, cosine, linear"):
        apply_overrides(Recipe(), {"train.schedule": "cosin"})


def test_a_section_that_is_no_section_is_refused():
    with pytest.raises(RecipeError, match="train is 3 - it should be fields with their values"):
        apply_overrides(Recipe(), {"train": 3})


def test_a_field_of_several_types_is_told_once():
    with pytest.raises(RecipeError) as caught:
        apply_overrides(Recipe(), {"adapter.targets": 3})
    assert caught.value.what == "adapter.targets is 3"


def test_the_origin_stands_first():
    with pytest.raises(RecipeError, match=r"^my\.yaml: train\.seed is 'x'"):
        apply_overrides(Recipe(), {"train.seed": "x"}, origin="my.yaml")


def test_field_names_are_those_of_the_sections():
    names = set(field_names())
    assert {"train.max_steps", "augment.spec_augment.p", "output_dir", "name"} <= names
    assert "train" not in names


@pytest.mark.parametrize("name", ["data.source", "data.train", "data.eval", "model.name", "output_dir"])
def test_an_empty_text_is_refused(name):
    with pytest.raises(RecipeError, match=f"^{name} is '' - an empty text names nothing - "):
        apply_overrides(Recipe(), {name: ""})
