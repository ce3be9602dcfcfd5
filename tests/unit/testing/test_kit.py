"""The contracts of recipes, trackers and adapters find what they are for."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from whisper_peft import adapter, compose, schedule, speech
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.catalog import named_recipe, recipe_names
from whisper_peft.recipe.sections import Recipe
from whisper_peft.testing import check_adapter_config, check_recipe, check_tracker, small_whisper


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Whisper:
    return small_whisper(tmp_path_factory.mktemp("model") / "whisper")


@pytest.mark.parametrize("name", recipe_names())
def test_our_own_recipes_keep_the_contract(name: str) -> None:
    check_recipe(named_recipe(name).model_copy(update={"output_dir": None}))


def test_a_recipe_with_a_configuration_of_peft_keeps_the_contract() -> None:
    config = peft.LoraConfig(r=2, target_modules=["q_proj"])
    check_recipe(compose(adapter(config=config), name="mine"))


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ({"name": "mine"}, "a recipe is a dict, not a Recipe"),
        (Recipe(), "no name of its own"),
        (Recipe(name="mine", output_dir="runs/mine"), "leave output_dir to its users"),
        (compose(schedule(trackers=("nowhere:at_all",)), name="mine"), "train.trackers is 'nowhere:at_all'"),
        (compose(schedule(trackers=(lambda *_: print,)), name="mine"), "cannot be imported"),
        (compose(schedule(early_stopping_patience=2), name="mine"), "mine cannot be run.*early_stopping"),
        (compose(speech([{"audio": "a.wav", "text": "A"}]), name="mine"), "data.source was a list"),
    ],
)
def test_a_recipe_that_breaks_a_promise_is_told_which(recipe: Any, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_recipe(recipe)


class Notes:
    """A tracker that keeps its promises: it writes a line for each event."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.path = folder / "notes.txt"

    def __call__(self, event: Any) -> None:
        with self.path.open("a") as lines:
            lines.write(f"{event.kind} {event.step} {sorted(event.row)}\n")


def test_a_tracker_that_keeps_its_promises_passes(whisper: Whisper) -> None:
    check_tracker(Notes, whisper)


def answering(answer: Any) -> Callable[[Recipe, Path], Any]:
    return lambda recipe, folder: lambda event: answer


def noting_once(recipe: Recipe, folder: Path) -> Any:
    (folder / "notes").mkdir()
    return lambda event: None


def halves(event: Any) -> None:
    with torch.no_grad():
        event.whisper.core.model.encoder.conv1.bias.mul_(0.5).add_(1)


@pytest.mark.parametrize(
    ("tracker", "sentence"),
    [
        (lambda recipe, folder: None, "returned a NoneType"),
        (lambda recipe, folder: lambda event: event.row["loss"], "stopped at the event 'start': KeyError"),
        (lambda recipe, folder: lambda event: event.row.clear(), "changed the numbers of the event 'step'"),
        (lambda recipe, folder: lambda event: print(random.random()), "drew from a global generator"),
        (lambda recipe, folder: lambda event: print(torch.rand(1)), "drew from a global generator"),
        (answering("fine"), "answered 'start' with a str"),
        (answering({"loss": "low"}), "what is no number"),
        (lambda recipe, folder: halves, "changed the model's weights"),
        (noting_once, "makes no listener.*File exists"),
    ],
)
def test_a_tracker_that_breaks_a_promise_is_told_which(tmp_path: Path, tracker: Any, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_tracker(tracker, small_whisper(tmp_path / "whisper"))


@pytest.mark.parametrize(
    "config",
    [
        peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"]),
        peft.LoraConfig(r=4, target_modules="all-linear", use_rslora=True),
        peft.IA3Config(target_modules=["k_proj", "fc2"], feedforward_modules=["fc2"]),
        peft.LoHaConfig(r=2, target_modules=["q_proj"]),
    ],
)
def test_configurations_of_peft_keep_the_contract(config: peft.PeftConfig) -> None:
    check_adapter_config(config)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (peft.LoraConfig(r=4, target_modules=["no_such_proj"]), "no_such_proj"),
        (peft.PromptTuningConfig(num_virtual_tokens=4), "does not work with Whisper"),
    ],
)
def test_a_configuration_that_does_not_fit_is_told_why(config: peft.PeftConfig, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_adapter_config(config)
