"""Flags become the fields of a recipe, and nothing else changes."""

from pathlib import Path

import pytest

from tests.unit.cli.command_lines import exit_code
from whisper_peft.recipe.sections import Recipe, TrainSection
from whisper_peft.recipe.yaml_files import write_recipe


def test_finetune_help_has_every_promised_flag(capsys):
    assert exit_code("finetune", "demo", "--help") == 0
    printed = capsys.readouterr().out
    for flag in [
        "model.name",
        "model.language",
        "model.quantize",
        "data.source",
        "data.train",
        "data.eval",
        "adapter.r",
        "adapter.init",
        "train.max-steps",
        "train.batch-size",
        "train.learning-rate",
        "train.epochs",
        "train.checkpoint-steps",
        "train.seed",
        "eval.max-utterances",
        "output-dir",
        "resume",
    ]:
        assert f"--{flag} " in printed or f"--{flag}," in printed, flag


def test_flags_reach_the_recipe_and_the_rest_stays(called):
    words = "finetune lora-librispeech --model.name openai/whisper-tiny.en --data.source DIR"
    words += " --data.train train-clean-100"
    assert (
        exit_code(
            *words.split(), "--data.eval=heldout-clean", "--train.max-steps", "40", "--output-dir", "RUN"
        )
        == 0
    )
    (recipe,) = called.args
    assert (recipe.data.source, recipe.data.train, recipe.data.eval) == (
        "DIR",
        "train-clean-100",
        "heldout-clean",
    )
    assert (recipe.train.max_steps, recipe.output_dir, recipe.adapter.r) == (40, Path("RUN"), 32)
    assert called.kwargs == {"resume": False}


def test_only_typed_flags_count_as_named(called):
    assert exit_code("finetune", "lora-librispeech", "--data.eval", "validation.clean") == 0
    (recipe,) = called.args
    assert recipe.data.model_fields_set == {"source", "eval"}


def test_switches_tuples_and_none_are_read(called):
    words = (
        "--train.no-tensorboard --adapter.targets q_proj v_proj --train.max-steps None --train.batch_size 4"
    )
    assert exit_code("finetune", "lora-librispeech", *words.split()) == 0
    (recipe,) = called.args
    assert not recipe.train.tensorboard
    assert recipe.adapter.targets == ("q_proj", "v_proj")
    assert (recipe.train.max_steps, recipe.train.batch_size) == (None, 4)


def test_sources_are_mixed_in_by_words(called):
    words = "--data.mix speech/en=0.2 language=en eval=test LibriSpeech=10% --train.max-steps 3"
    assert exit_code("finetune", "lora-librispeech", *words.split()) == 0
    english, libri = called.args[0].data.mix
    assert (english.source, english.weight, english.language, english.eval) == (
        "speech/en",
        0.2,
        "en",
        "test",
    )
    assert (libri.source, libri.share) == ("LibriSpeech", 0.1)


def test_a_yaml_file_runs_and_resumes(called, tmp_path):
    write_recipe(Recipe(name="mine", train=TrainSection(max_steps=5)), tmp_path / "recipe.yaml")
    assert (
        exit_code("finetune", str(tmp_path / "recipe.yaml"), "--resume", "--output-dir", str(tmp_path)) == 0
    )
    assert (called.args[0].name, called.args[0].train.max_steps) == ("mine", 5)
    assert called.kwargs == {"resume": True}


@pytest.mark.parametrize(
    ("words", "resume"),
    [("--resume auto", "auto"), ("--resume=auto", "auto"), ("--resume", True), ("--resume no", False)],
)
def test_a_run_goes_on_or_starts_as_it_is_told(called, words, resume):
    assert exit_code("finetune", "demo", *words.split(), "--train.max-steps", "3") == 0
    assert called.kwargs == {"resume": resume}


def test_a_recipe_script_has_the_same_flags(called, capsys):
    assert exit_code("--train.max-steps", "3", "--resume", recipe=Recipe(name="mine")) == 0
    assert (called.args[0].name, called.args[0].train.max_steps) == ("mine", 3)
    assert called.kwargs == {"resume": True}
    assert capsys.readouterr().out == "the summary\n"


def test_the_summary_is_printed_once_by_several_processes(called, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert exit_code(recipe=Recipe()) == 0
    assert capsys.readouterr().out == ""
