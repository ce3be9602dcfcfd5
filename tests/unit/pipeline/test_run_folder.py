"""The run folder and what is said of it."""

import pytest

from whisper_peft.errors import ResumeError
from whisper_peft.pipeline.run_folder import choose_folder
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
    with pytest.raises(ResumeError, match=advice):
        choose_folder(changed, resume=True)
