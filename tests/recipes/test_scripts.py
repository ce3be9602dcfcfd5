"""The recipes for LibriSpeech, accents and studies each take two steps; the others are in `test_shelf.py`."""

import pytest
from safetensors.torch import load_file

from tests.recipes.manifests import manifest_of
from whisper_peft.recipe.yaml_files import read_recipe

STEPS = ("--train.max-steps", "2", "--train.batch-size", "2", "--train.workers", "0")
FEW = ("--eval.max-utterances", "1", "--eval.no-before", "--eval.no-short-context", "--merge.no-enabled")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("lora_librispeech", ()),
        ("qlora_librispeech", ("--model.quantize", "int8")),
        ("qlora_librispeech", ("--model.quantize", "nf4")),
        ("full_librispeech", ("--train.learning-rate", "1e-5")),
    ],
)
def test_a_recipe_prints_before_and_after(launch, script, words):
    done = launch(script, "run", *STEPS, *words)
    assert "WER before:" in done.stdout
    assert "WER after:" in done.stdout
    assert done.stdout.rstrip().endswith(str(launch.folder / "run"))
    assert "kernels-community" not in done.stdout + done.stderr
    report = launch.report("run")
    assert report["train"]["steps"] == 2
    if script == "qlora_librispeech":
        assert report["merge"]["quantized_max_logit_difference"] > 0


@pytest.mark.parametrize("script", ["accented"])
def test_the_accented_recipe_tells_what_it_gained_and_what_it_kept(launch, script):
    done = launch(script, "run", *STEPS, "--data.mix", f"{launch.manifest}=50%", "name=kept")
    assert "WER after:" in done.stdout
    assert "other speech  kept (50.0 % of an epoch)" in done.stdout
    assert launch.report("run")["evaluation"]["source_difference_intervals"]["kept"]


@pytest.mark.parametrize("script", ["decoder_only"])
def test_of_the_decoder_recipe_nothing_in_the_encoder_learns(launch, script):
    launch.here(script, "run", *STEPS, *FEW)
    learned = load_file(launch.folder / "run" / "adapter" / "adapter_model.safetensors")
    assert launch.report("run")["train"]["steps"] == 2
    assert {name for name in learned if ".decoder." in name} == {*learned}


@pytest.mark.parametrize("script", ["demo"])
def test_the_demo_learns_french_with_the_multilingual_base(launch, script, prompts_fr, tmp_path):
    short = sorted(prompts_fr, key=lambda row: row["duration_s"])[:12]
    rows = [{name: value for name, value in row.items() if name != "language"} for row in short]
    launch.here(script, "run", *STEPS, *FEW, "--data.source", manifest_of(rows, tmp_path / "french.jsonl"))
    report = launch.report("run")
    assert (report["train"]["steps"], report["evaluation"]["after"]["language"]) == (2, "fr")


@pytest.mark.parametrize("script", ["learning_curve"])
def test_a_learning_curve_has_a_point_for_each_share(launch, script):
    printed = launch.here(script, "curve", *STEPS, *FEW, "--shares", "0.5", "1")
    assert [line.split()[0] for line in printed.splitlines() if "%  " in line[:6]] == ["50%", "100%"]
    assert (launch.folder / "curve" / "learning_curve.svg").is_file()


@pytest.mark.parametrize("script", ["search"])
def test_a_search_writes_the_best_recipe_of_its_trials(launch, script):
    printed = launch.here(script, "search", *STEPS, *FEW, "--trials", "1")
    assert "Trial 0 has the lowest WER" in printed
    assert read_recipe(launch.folder / "search" / "best.yaml").train.max_steps == 2
