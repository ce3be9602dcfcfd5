import ast
import re
import subprocess
import sys

import pytest

from tests.recipes import test_scripts, test_shelf
from whisper_peft.recipe.catalog import named_recipe, recipe_names, recipe_script, recipe_sentence
from whisper_peft.recipe.yaml_files import read_recipe, write_recipe

NAMES = recipe_names()
PURPOSES = [
    ("accented", "LibriSpeech heard beside it so that neither is lost", "data.mix.0.source", "LibriSpeech"),
    ("accented", "LibriSpeech=33%", "data.mix.0.share", 0.33),
    ("accented", "Text in capitals is learned in sentence case", "data.text_case", "sentence"),
    ("accented", "LibriSpeech, held out too", "train.full_context_share", 0.2),
    ("decoder-only", "LoRA on the decoder", "adapter.targets", "decoder-only"),
    ("decoder-only", "later epochs neither decode audio nor encode it", "train.epochs", 5),
    ("demo", "LoRA on 144 French telephone prompts", "data.source", "tests/data/prompts/fr"),
    ("full-librispeech", "every weight learns", "adapter.method", "full"),
    ("full-librispeech", "a thirtieth of LoRA's", "train.learning_rate", 1e-5),
    ("learning-curve", "How much data is enough", "study", "learning-curve"),
    ("lora-librispeech", "rank 32 on every linear layer", "adapter.r", 32),
    ("lora-librispeech", "rank 32 on every linear layer", "adapter.targets", "all-linear"),
    ("lora-librispeech", "of the finished update six tenths are kept", "adapter.scale", 0.6),
    ("lora-librispeech", "1000 steps, streamed from the Hub", "train.stream_steps", 1000),
    ("lora-librispeech", "one epoch", "train.epochs", 1),
    ("multilingual", "small corpora heard more often", "data.mix_temperature", 3),
    ("multilingual", "French and English telephone prompts", "data.mix.0.language", "en"),
    ("multilingual", "French and English telephone prompts", "model.language", "fr"),
    ("pseudo-label", "a better model writes recordings down", "study", "pseudo-label"),
    ("qlora-librispeech", "the frozen weights in 8 bits", "model.quantize", "int8"),
    ("replay", "a fifth of what it hears is heard again", "data.mix.0.share", 0.2),
    ("replay", "What is replayed, `LibriSpeech`", "data.mix.0.source", "LibriSpeech"),
    ("search", "trials chosen on held-out training speakers", "study", "search"),
    ("short-context", "hears only as long as the speech lasts", "train.audio_context", "cut"),
    ("short-context", "the whole update", "adapter.scale", 1),
    ("short-context", "one epoch", "train.epochs", 1),
    ("short-context", "at 3e-4", "train.learning_rate", 3e-4),
    ("short-context", "Text in capitals is learned in sentence case", "data.text_case", "sentence"),
    ("telephone", "hears every second utterance over a telephone line", "augment.telephone.p", 0.5),
    ("timestamps-long-form", "neighbours in one window", "targets.long_form", 0.5),
    ("timestamps-long-form", "and silence", "targets.no_speech", 0.1),
    ("timestamps-long-form", "The probes measure timestamps", "eval.probes", True),
]
"""Recipe, what its page says of itself, the setting that makes it true, and its value."""


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


def scripts_of(module):
    """Yield the scripts that the tests of a module are parametrised with, and so launch."""
    marks = [mark for test in vars(module).values() for mark in getattr(test, "pytestmark", ())]
    for mark in marks:
        if mark.name == "parametrize" and "script" in mark.args[0]:
            yield from (values if isinstance(values, str) else values[0] for values in mark.args[1])


def test_every_recipe_is_launched(root):
    launched = {*scripts_of(test_scripts), *scripts_of(test_shelf)}
    assert launched == {path.stem for path in (root / "recipes").glob("*.py")}


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


def setting(name, path):
    """Return a field of a recipe by its dotted name, or what its script does with it."""
    if path == "study":
        return re.search(r'study="([a-z-]+)"', recipe_script(name).read_text(encoding="utf-8"))[1]
    value = named_recipe(name)
    for part in path.split("."):
        value = value[int(part)] if part.isdigit() else getattr(value, part)
    return value


@pytest.mark.parametrize(("name", "words", "path", "value"), PURPOSES)
def test_a_recipe_is_set_to_what_it_says_of_itself(name, words, path, value):
    said = " ".join(ast.get_docstring(ast.parse(recipe_script(name).read_text(encoding="utf-8"))).split())
    assert words in said
    assert setting(name, path) == value


def test_every_recipe_says_what_makes_it_itself():
    assert {name for name, *_ in PURPOSES} == {*NAMES}


def test_the_demo_chooses_nothing_on_its_test_rows(root):
    demo = named_recipe("demo")
    assert demo.eval.steps is None
    assert demo.train.early_stopping_patience is None
    assert (root / demo.data.source / "metadata.jsonl").is_file()
    assert demo.model.language == "fr"
