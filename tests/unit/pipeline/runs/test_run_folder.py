"""The run folder and what is said of it."""

from pathlib import Path

import pytest

from whisper_peft.errors import ResumeError, StorageError
from whisper_peft.pipeline.operations import recipe_of
from whisper_peft.pipeline.runs.run_folder import choose_folder
from whisper_peft.pipeline.runs.run_lock import LOCK_FILE, RunLock
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import Recipe
from whisper_peft.recipe.yaml_files import write_recipe


@pytest.mark.parametrize(
    ("learned", "advice"),
    [
        ("adapter", r"recipe\.yaml, or train on: --adapter\.init .*/adapter$"),
        ("model", r"recipe\.yaml, or train on: --model\.name .*/model$"),
        (None, r"recipe\.yaml, or give a new run another --output-dir$"),
    ],
)
def test_a_changed_recipe_is_told_what_can_be_trained_on(tmp_path, learned, advice):
    stored = apply_overrides(Recipe(), {"output_dir": tmp_path})
    write_recipe(stored, tmp_path / "recipe.yaml")
    if learned:
        (tmp_path / learned).mkdir()
    changed = apply_overrides(stored, {"train": {"learning_rate": 0.5}})
    with RunLock() as lock, pytest.raises(ResumeError, match=advice):
        choose_folder(changed, lock, resume=True)


def chosen(recipe, resume):
    with RunLock() as lock:
        found = choose_folder(recipe, lock, resume=resume)
        (found.path / "keeps the folder").touch()
    return found


def stored_run(folder, **train):
    folder.mkdir(parents=True, exist_ok=True)
    made = apply_overrides(Recipe(name="mine"), {"train": train})
    write_recipe(made, folder / "recipe.yaml")
    return made


@pytest.mark.parametrize("output_dir", [None, "elsewhere"])
def test_auto_starts_where_there_is_no_run_and_goes_on_where_there_is(tmp_path, monkeypatch, output_dir):
    monkeypatch.chdir(tmp_path)
    recipe = apply_overrides(Recipe(name="mine"), {"output_dir": output_dir} if output_dir else {})
    folder = Path(output_dir or "runs/mine")
    first = chosen(recipe, "auto")
    assert (first.path, first.resumes) == (folder, False)
    write_recipe(recipe, folder / "recipe.yaml")
    second = chosen(recipe, "auto")
    assert (second.path, second.resumes) == (folder, True)


def test_auto_goes_on_where_only_harmless_fields_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = stored_run(Path("runs/mine"))
    assert chosen(apply_overrides(made, {"train": {"workers": 3}}), "auto").resumes


def test_auto_names_the_fields_that_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = stored_run(Path("runs/mine"))
    other = apply_overrides(made, {"train": {"learning_rate": 0.5, "seed": 7}})
    with pytest.raises(ResumeError, match=r"train\.learning_rate, train\.seed differ"):
        chosen(other, "auto")
    assert not Path("runs/mine", LOCK_FILE).exists()


def test_a_new_run_without_a_folder_never_goes_into_a_used_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = stored_run(Path("runs/mine"))
    assert chosen(made, False).path == Path("runs/mine-2")


def test_a_run_that_is_refused_leaves_no_folder(tmp_path):
    recipe = apply_overrides(Recipe(), {"output_dir": tmp_path / "run"})
    with pytest.raises(ResumeError, match="has no run to resume"):
        chosen(recipe, True)
    assert not (tmp_path / "run").exists()


def test_what_is_said_of_a_used_folder_is_that_it_is_in_use_while_it_is(tmp_path):
    recipe = apply_overrides(Recipe(), {"output_dir": tmp_path})
    with RunLock() as lock:
        choose_folder(recipe, lock, resume=False)
        write_recipe(recipe, tmp_path / "recipe.yaml")
        for resume in (False, True, "auto"):
            with pytest.raises(StorageError, match="is in use"):
                chosen(recipe, resume)
    with pytest.raises(StorageError, match="holds another run"):
        chosen(recipe, False)


@pytest.mark.parametrize("part", ["adapter", "model", "merged"])
def test_a_part_of_a_run_has_the_recipe_of_the_run(tmp_path, part):
    run = tmp_path / "run"
    (run / part).mkdir(parents=True)
    write_recipe(apply_overrides(Recipe(), {"model": {"language": "fr"}}), run / "recipe.yaml")
    assert recipe_of(run / part, {}).model.language == "fr"
    alone = tmp_path / "elsewhere" / part
    alone.mkdir(parents=True)
    assert recipe_of(alone, {}) == Recipe()
