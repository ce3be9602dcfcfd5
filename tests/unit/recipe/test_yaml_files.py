import numpy as np
import pytest
import yaml

from whisper_peft.errors import RecipeError, StorageError
from whisper_peft.recipe.catalog import resolve_recipe
from whisper_peft.recipe.compose import compose
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.parts import augment, lora, schedule, speech
from whisper_peft.recipe.sections import AugmentSection, DataSection, MixedSource, Noise, Recipe
from whisper_peft.recipe.yaml_files import HeldInMemory, read_recipe, recipe_yaml, write_recipe


def test_a_written_recipe_reads_back_equal(tmp_path):
    recipe = compose(
        speech(tmp_path / "speech", eval="test"),
        augment(noise=Noise(p=0.3, source=tmp_path, snr_db=(0.0, 9.5))),
        lora(targets=("q_proj", "v_proj")),
        schedule(learning_rate=1e-5, max_steps=7),
        name="mine",
    )
    write_recipe(recipe, tmp_path / "recipe.yaml")
    read = read_recipe(tmp_path / "recipe.yaml")
    assert read.model_copy(update={"data": recipe.data}) == recipe
    assert read.data.source == str(recipe.data.source)


def test_every_field_is_written():
    tree = yaml.safe_load(recipe_yaml(Recipe()))
    assert tree["train"].keys() == type(Recipe().train).model_fields.keys()
    assert tree["augment"]["telephone"]["codecs"] == ["mu-law", "a-law", "gsm"]


def test_a_few_lines_are_a_recipe(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("train:\n  max_steps: 3\n  learning_rate: 3e-4\n")
    recipe = read_recipe(file)
    assert (recipe.train.max_steps, recipe.train.learning_rate) == (3, 3e-4)
    assert recipe.train.model_fields_set == {"max_steps", "learning_rate"}


def test_speech_in_memory_is_recorded_by_type_and_refused_again(tmp_path):
    write_recipe(Recipe(data=DataSection(source=[{"audio": 1}, {"audio": 2}])), tmp_path / "recipe.yaml")
    read = read_recipe(tmp_path / "recipe.yaml")
    assert read.data.source == HeldInMemory("list of 2")
    with pytest.raises(RecipeError, match=r"data\.source was a list of 2, held in memory"):
        resolve_recipe(tmp_path / "recipe.yaml")
    assert resolve_recipe(tmp_path / "recipe.yaml", {"data.source": "folder"}).data.source == "folder"


def test_speech_in_memory_is_still_named_after_a_second_writing(tmp_path):
    write_recipe(Recipe(data=DataSection(source=HeldInMemory("list of 2"))), tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml").data.source == HeldInMemory("list of 2")


def test_an_importable_callable_runs_again(tmp_path):
    write_recipe(Recipe(augment=AugmentSection(custom=(np.clip,))), tmp_path / "recipe.yaml")
    assert resolve_recipe(tmp_path / "recipe.yaml").augment.custom == (np.clip,)


def test_a_callable_that_cannot_be_imported_is_refused_by_name(tmp_path):
    write_recipe(Recipe(augment=AugmentSection(custom=(lambda w, rng: w,))), tmp_path / "recipe.yaml")
    with pytest.raises(RecipeError, match=r"augment\.custom is '.*<lambda>', which cannot be imported"):
        resolve_recipe(tmp_path / "recipe.yaml")


def test_an_unknown_key_is_refused_with_the_file_and_the_nearest_name(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("trian:\n  max_steps: 3\n")
    with pytest.raises(RecipeError, match=r"my\.yaml: trian is not a field - did you mean train\?"):
        read_recipe(file)


def test_a_syntax_error_names_its_line(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("train:\n  max_steps: 3\n  seed: [1\n")
    with pytest.raises(RecipeError, match=r"my\.yaml is not valid YAML at line 4"):
        read_recipe(file)


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "just words\n"])
def test_a_file_without_fields_is_refused(tmp_path, text):
    file = tmp_path / "my.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match="holds no recipe"):
        read_recipe(file)


def test_python_objects_in_yaml_are_refused(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("name: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(RecipeError, match="not valid YAML"):
        read_recipe(file)


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(RecipeError, match="not text"):
        read_recipe(tmp_path / "binary.yaml")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(StorageError, match="cannot be written"):
        write_recipe(Recipe(), tmp_path / "none" / "recipe.yaml")


@pytest.mark.parametrize("name", ["a\x85b", "\u2028", "\u2029x", "plain", "two\nlines"])
def test_unusual_line_breaks_read_back_as_they_were(name, tmp_path):
    write_recipe(Recipe(name=name), tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml").name == name


def test_a_mixture_is_written_and_read_back_as_it_was(tmp_path):
    recipe = apply_overrides(
        Recipe(), {"data.mix": ["speech/en=0.2", "language=en", "eval=None", "old.jsonl=5%"]}
    )
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


def test_a_mixture_may_be_written_in_words(tmp_path):
    (tmp_path / "recipe.yaml").write_text("data:\n  mix: [speech/en=0.2, language=en]\n")
    (mixed,) = read_recipe(tmp_path / "recipe.yaml").data.mix
    assert (mixed.source, mixed.weight, mixed.language) == ("speech/en", 0.2, "en")


def test_a_mixed_source_held_in_memory_is_recorded_and_refused_in_a_rerun(tmp_path):
    recipe = Recipe(data=DataSection(mix=(MixedSource(source=[1, 2], weight=1),)))
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert "held_in_memory: list of 2" in (tmp_path / "recipe.yaml").read_text()
    with pytest.raises(RecipeError, match=r"data\.mix\.0\.source was a list of 2, held in memory"):
        resolve_recipe(tmp_path / "recipe.yaml")
