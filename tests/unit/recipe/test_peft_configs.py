import pytest
from peft import AdaLoraConfig, LoraConfig, VeraConfig

from whisper_peft.errors import RecipeError
from whisper_peft.recipe.peft_configs import peft_config_fields, peft_config_from
from whisper_peft.recipe.sections import AdapterSection, Recipe
from whisper_peft.recipe.yaml_files import read_recipe, write_recipe


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"], rank_pattern={"fc1": 2}, use_dora=True),
        AdaLoraConfig(total_step=10, init_r=6),
        VeraConfig(r=16),
    ],
)
def test_a_config_reads_back_equal(tmp_path, config):
    write_recipe(Recipe(adapter=AdapterSection(config=config)), tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml").adapter.config == config


def test_only_changed_fields_are_written():
    fields = peft_config_fields(LoraConfig(r=4, target_modules=["v_proj", "q_proj"]))
    assert fields == {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj", "v_proj"]}


def test_the_type_may_be_written_small():
    assert peft_config_from({"peft_type": "lora", "r": 4}).r == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"peft_type": "LORRA"}, r"did you mean LORA\?"),
        ({"peft_type": "LORA", "rank": 4}, r"adapter\.config\.rank is not a field of LORA"),
        ({"r": 4}, "begin with `peft_type: LORA`"),
        ("LORA", "begin with `peft_type: LORA`"),
        ({"peft_type": "ADALORA"}, "refused by PEFT"),
    ],
)
def test_a_wrong_config_is_refused_in_the_fields_words(fields, message):
    with pytest.raises(RecipeError, match=message):
        peft_config_from(fields)


def test_what_is_no_peft_config_is_refused():
    with pytest.raises(RecipeError, match=r"adapter\.config is a dict"):
        peft_config_fields({"r": 4})
