import ast
import re
import subprocess
import sys

import pytest

from whisper_peft.recipe.catalog import named_recipe, recipe_names, recipe_script, recipe_sentence
from whisper_peft.recipe.yaml_files import read_recipe, write_recipe

NAMES = recipe_names()


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_the_name_of_its_file(name):
    assert named_recipe(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_a_composition_and_a_call(name):
    source = recipe_script(name).read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 60
    tree = ast.parse(source)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While | ast.FunctionDef)]
    assert re.search(r'if __name__ == "__main__":\n    main\(RECIPE(, study="[a-z-]+")?\)\n$', source)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_in_one_line_what_it_is(name):
    assert recipe_sentence(name).endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_reads_back_from_yaml(name, tmp_path):
    write_recipe(named_recipe(name), tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == named_recipe(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_parses_its_flags_without_torch(name):
    code = (
        "import runpy, sys\nsys.argv = ['recipe', '--help']\n"
        f"try:\n    runpy.run_path({str(recipe_script(name))!r}, run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "--train.max-steps" in ended.stdout


def test_the_demo_chooses_nothing_on_its_test_rows(root):
    demo = named_recipe("demo")
    assert demo.eval.steps is None
    assert demo.train.early_stopping_patience is None
    assert (root / demo.data.source / "metadata.jsonl").is_file()
    assert demo.model.language == "fr"
