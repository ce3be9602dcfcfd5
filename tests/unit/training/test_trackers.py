"""Trackers: listeners that a recipe names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whisper_peft import compose, finetune, schedule
from whisper_peft.errors import RecipeError
from whisper_peft.recipe.plug_ins import find_plug_in
from whisper_peft.recipe.sections import Recipe
from whisper_peft.recipe.yaml_files import read_recipe
from whisper_peft.training.trackers import open_trackers


def keeps(recipe: Recipe, folder: Path) -> Any:
    """Write each event and what it holds into the run folder."""

    def note(event: Any) -> None:
        with (folder / "kept.txt").open("a") as lines:
            lines.write(f"{recipe.name} {event.kind} {event.step} {'loss' in event.row}\n")

    return note


def test_a_tracker_is_given_the_recipe_and_the_folder(tmp_path: Path) -> None:
    seen = []
    open_trackers(
        compose(schedule(trackers=(lambda *given: seen.append(given) or print,)), name="mine"), tmp_path
    )
    assert [(recipe.name, folder) for recipe, folder in seen] == [("mine", tmp_path)]


@pytest.mark.parametrize(
    ("tracker", "sentence"),
    [
        ("parliament", "train.trackers is 'parliament' - it is no module:name"),
        ("json:nowhere", "train.trackers is 'json:nowhere', which cannot be imported"),
        ("json:__doc__", "a str - it cannot be called"),
        (3, "train.trackers holds 3, a int"),
        (lambda recipe, folder: {}, r"the tracker .*<lambda> returned a dict"),
    ],
)
def test_what_is_no_tracker_is_refused(tracker: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=sentence):
        open_trackers(compose(schedule(trackers=(tracker,))), tmp_path)


def test_a_misspelt_tracker_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no installed package offers it"):
        finetune(Recipe(), train={"trackers": ("wandbb",)}, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_tells_its_tracker_every_step_and_records_it_by_name(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("json.keeps", keeps, raising=False)
    finetune(
        "lora-librispeech",
        data={"source": root / "tests" / "data" / "prompts" / "en", "train": "train", "eval": "test"},
        train={"max_steps": 2, "batch_size": 2, "workers": 0, "trackers": ("json:keeps",)},
        eval={"before": False, "max_utterances": 1, "health": "off", "short_context": False},
        merge={"enabled": False},
        output_dir=tmp_path / "run",
    )
    kept = (tmp_path / "run" / "kept.txt").read_text().splitlines()
    assert [line for line in kept if "step" in line] == [
        "lora-librispeech step 1 True",
        "lora-librispeech step 2 True",
    ]
    assert kept[0] == "lora-librispeech start 0 False"
    assert kept[-1] == "lora-librispeech end 2 False"
    (recorded,) = read_recipe(tmp_path / "run" / "recipe.yaml").train.trackers
    assert recorded == f"{keeps.__module__}:keeps"


def test_an_entry_point_is_loaded_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whisper_peft.recipe.plug_ins.plug_in_names", lambda group: ("halves",))
    monkeypatch.setattr(
        "whisper_peft.recipe.plug_ins.load_plug_in", lambda group, name: {"augmentations": len}[group]
    )
    assert find_plug_in("halves", "augmentations", field="augment.custom") is len
    with pytest.raises(RecipeError, match=r"augment.custom is 'halvs'.*did you mean halves"):
        find_plug_in("halvs", "augmentations", field="augment.custom")
