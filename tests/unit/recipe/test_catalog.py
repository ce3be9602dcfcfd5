import importlib.metadata

import pytest

from whisper_peft.errors import RecipeError, StorageError
from whisper_peft.recipe import plug_ins
from whisper_peft.recipe.catalog import (
    copy_recipe,
    find_recipe,
    named_recipe,
    recipe_names,
    recipe_script,
    recipe_sentence,
    resolve_recipe,
)
from whisper_peft.recipe.sections import Recipe


@pytest.fixture
def plug_in(monkeypatch):
    """An installed package that offers the recipe `plugged-in`, one that is no recipe, and a broken one."""
    group = "whisper_peft.recipes"
    entries = importlib.metadata.EntryPoints(
        [
            importlib.metadata.EntryPoint("plugged-in", "whisper_peft.recipe.sections:Section", group),
            importlib.metadata.EntryPoint("broken", "no_such_package:RECIPE", group),
        ]
    )
    monkeypatch.setattr(plug_ins, "entry_points", lambda **wanted: entries.select(**wanted))


def test_names_are_file_names_with_dashes(root):
    expected = {path.stem.replace("_", "-") for path in (root / "recipes").glob("*.py")}
    assert set(recipe_names()) == expected >= {"demo", "lora-librispeech", "qlora-librispeech"}


def test_dashes_equal_underscores():
    assert named_recipe("lora_librispeech") == named_recipe("lora-librispeech")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(
        RecipeError, match=r"there is no recipe 'lora-librispech' - did you mean lora-librispeech\?"
    ):
        named_recipe("lora-librispech")


def test_a_recipe_a_name_and_a_file_are_all_found(tmp_path):
    (tmp_path / "my.yaml").write_text("name: mine\n")
    assert find_recipe(Recipe(name="mine")).name == "mine"
    assert find_recipe(tmp_path / "my.yaml").name == "mine"
    assert find_recipe(str(tmp_path / "my.yaml")).name == "mine"
    assert find_recipe("demo").name == "demo"


def test_overrides_reach_a_named_recipe():
    recipe = resolve_recipe("lora-librispeech", {"train": {"max_steps": 2}})
    untouched = named_recipe("lora-librispeech").train.model_copy(update={"max_steps": 2})
    assert recipe.train == untouched


def test_plug_ins_are_listed_without_being_loaded(plug_in):
    assert {"plugged-in", "broken"} <= set(recipe_names())
    assert recipe_sentence("broken") == "from the package no_such_package"


def test_a_plug_in_that_is_no_recipe_or_does_not_import_is_refused(plug_in):
    with pytest.raises(RecipeError, match="its package should offer a Recipe"):
        named_recipe("plugged-in")
    with pytest.raises(RecipeError, match="broken of no_such_package:RECIPE cannot be imported"):
        named_recipe("broken")


def test_copying_gives_the_same_script_once(tmp_path):
    copied = copy_recipe("demo", tmp_path / "new")
    assert copied.read_text() == recipe_script("demo").read_text()
    with pytest.raises(StorageError, match="already there"):
        copy_recipe("demo", tmp_path / "new")
