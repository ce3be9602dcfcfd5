"""A rate that does not go with its method is said, in `check` and where a run begins."""

import pytest

from whisper_peft.recipe.adapter_names import METHODS, STARTS
from whisper_peft.recipe.catalog import recipe_names, resolve_recipe
from whisper_peft.recipe.learning_rates import GOOD_RATES, rate_sentence
from whisper_peft.recipe.sections import Recipe


def recipe(rate: float, **adapter: object) -> Recipe:
    return Recipe.model_validate({"adapter": adapter, "train": {"learning_rate": rate}})


@pytest.mark.parametrize(
    ("rate", "adapter", "told"),
    [
        (3e-4, {"use_rslora": True}, "rsLoRA was measured to learn well at 0.0001"),
        (3e-4, {"init_lora_weights": "eva"}, "EVA was measured to learn well at 0.0001"),
        (3e-4, {"method": "ia3"}, "IA3 was measured to learn well at 0.01"),
        (3e-4, {"method": "full"}, "full fine-tuning was measured to learn well at 1e-05 to 0.0001"),
        (1e-2, {}, "LoRA was measured to learn well at 0.0001 to 0.001"),
    ],
)
def test_a_rate_that_tears_or_leaves_everything_as_it_was_is_said(rate, adapter, told):
    said = rate_sentence(recipe(rate, **adapter))
    assert said is not None
    assert said.startswith(f"train.learning_rate is {rate:g}: {told} ")


@pytest.mark.parametrize(
    ("rate", "adapter"),
    [(5e-5, {}), (1e-4, {"init_lora_weights": "pissa"}), (3e-4, {"use_rslora": True, "use_dora": True})],
)
def test_a_gentle_rate_and_a_combination_that_was_not_measured_are_left_alone(rate, adapter):
    assert rate_sentence(recipe(rate, **adapter)) is None


def test_every_method_has_a_rate_and_every_recipe_that_ships_one_that_goes_with_it():
    assert set(GOOD_RATES) == {*METHODS.values(), *STARTS.values(), "rsLoRA", "DoRA"}
    for name in recipe_names():
        assert rate_sentence(resolve_recipe(name)) is None, name
