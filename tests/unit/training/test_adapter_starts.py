"""Starts that are found in speech or in rounded weights: they are used, and a stopped run ends the same."""

import pytest
import torch

from tests.unit.training.runs import make_recipe, make_training, weights
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.training.checkpoints import list_checkpoints
from whisper_peft.training.speech_start import start_at_speech

METHODS = {
    "EVA": {"adapter.init_lora_weights": "eva"},
    "PiSSA": {"adapter.init_lora_weights": "pissa"},
    "IA3": {"adapter.method": "ia3"},
    "VeRA": {"adapter.method": "vera"},
    "AdaLoRA": {"adapter.method": "adalora"},
    "LoftQ, nf4": {"adapter.init_lora_weights": "loftq", "model.quantize": "nf4"},
    "PiSSA, nf4": {"adapter.init_lora_weights": "pissa", "model.quantize": "nf4"},
}


def recipe_with(fields):
    return apply_overrides(make_recipe(), fields)


@pytest.mark.parametrize("name", METHODS)
def test_a_stopped_run_of_any_method_ends_at_the_same_weights(name, rows, tmp_path):
    made = recipe_with(METHODS[name])
    whole = make_training(rows, tmp_path / "whole", made)
    whole.run()
    first = make_training(rows, tmp_path / "parts", made)
    first.callbacks = (lambda event: event.kind == "step" and event.step == 2,)
    first.run()
    second = make_training(rows, tmp_path / "parts", made)
    second.run(list_checkpoints(tmp_path / "parts" / "checkpoints")[-1])
    expected, found = weights(whole), weights(second)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_eva_starts_where_the_first_steps_speech_varies_most(rows, tmp_path):
    run = make_training(rows, tmp_path, recipe_with(METHODS["EVA"]))
    before = weights(run)
    start_at_speech(run.gradients, run._batches(), run.state)
    after = weights(run)
    for name in (name for name in before if "lora_A" in name):
        assert not torch.equal(before[name], after[name])
        assert torch.allclose(after[name] @ after[name].T, torch.eye(4), atol=1e-4)
    assert all(torch.equal(before[name], after[name]) for name in before if "lora_B" in name)


def test_adalora_spends_the_run_on_its_budget_without_being_told_when(rows, tmp_path):
    run = make_training(
        rows, tmp_path, apply_overrides(recipe_with(METHODS["AdaLoRA"]), {"train.max_steps": 10})
    )
    run.run()
    values = [weight for name, weight in run.whisper.model.named_parameters() if "lora_E" in name]
    assert sum(int((value != 0).sum()) for value in values) == 4 * len(values)
    assert all(len(value) == 6 for value in values)
    config = run.whisper.model.peft_config["default"]
    assert (config.tinit, config.tfinal, config.total_step) == (1, 3, 10)
