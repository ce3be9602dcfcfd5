"""finetune() from the outside: the run folder, its report, and what other recipes leave."""

import json
import re
from pathlib import Path

import pytest

import whisper_peft
from tests.unit.pipeline.runs.short_runs import SMALL, overrides
from whisper_peft import Utterance, finetune
from whisper_peft.errors import (
    RecipeError,
)
from whisper_peft.recipe.yaml_files import read_recipe
from whisper_peft.reporting.json_lines import SCORED, read_predictions


def test_a_run_folder_is_complete(run):
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {
        "recipe.yaml", "report.json", "log.jsonl", "predictions.jsonl", "adapter", "merged", "checkpoints",
        "tensorboard", "README.md", "report.html",
    }  # fmt: skip


def test_the_report_holds_what_was_measured(run):
    report = json.loads((run.folder / "report.json").read_text())
    assert report == run.report
    before, after = report["evaluation"]["before"], report["evaluation"]["after"]
    for block in (before, after):
        assert block["utterances"] == 3
        assert block["normalizer"] == "english"
        assert block["wer_interval"][0] <= block["wer"] <= block["wer_interval"][1]
    assert report["train"]["steps"] == 3
    assert report["train"]["world_size"] == 1
    assert report["train"]["peak_memory_bytes"] > 2**28
    assert 0 < report["train"]["trainable_parameters"] < 0.02 * report["train"]["total_parameters"]
    assert report["merge"]["max_logit_difference"] < 1e-3
    assert report["merge"]["transcripts_equal"] is True
    assert report["evaluation"]["selected_split"] is None
    assert str(run.folder) in run.summary()


def test_predictions_are_those_that_were_scored(run):
    predictions = read_predictions(run.folder)
    for when in SCORED:
        rows = getattr(predictions, when).values()
        assert len(rows) == 3
        errors = sum(one.substitutions + one.deletions + one.insertions for one in rows)
        words = sum(one.substitutions + one.deletions + one.hits for one in rows)
        assert errors / words == pytest.approx(run.report["evaluation"][when]["wer"])


def test_the_written_recipe_runs_again_to_the_same_numbers(run, tmp_path):
    again = finetune(run.folder / "recipe.yaml", output_dir=tmp_path / "again")
    assert again.report["train"]["final_loss"] == run.report["train"]["final_loss"]
    assert again.report["evaluation"]["after"]["wer"] == run.report["evaluation"]["after"]["wer"]
    recipes = [read_recipe(folder / "recipe.yaml") for folder in (run.folder, again.folder)]
    assert recipes[0] == recipes[1]


def test_int8_training_merges_in_float_and_says_the_price(speech, tmp_path):
    made = overrides(speech, model={"quantize": "int8"}, train={"max_steps": 2})
    report = finetune("qlora-librispeech", **made, output_dir=tmp_path / "run").report
    assert report["merge"]["max_logit_difference"] < 1e-3
    assert report["merge"]["quantized_max_logit_difference"] > report["merge"]["max_logit_difference"]
    assert 0 <= report["merge"]["quantized_transcripts_equal"] <= 1


def test_full_fine_tuning_leaves_a_whole_model_and_is_warned_of_a_rate_for_lora(speech, tmp_path, capsys):
    made = overrides(speech, train={"max_steps": 1, "learning_rate": 3e-4}, adapter={"method": "full"})
    run = finetune("lora-librispeech", **made, output_dir=tmp_path / "run")
    said = "".join(capsys.readouterr())
    assert "train.learning_rate is 0.0003: full fine-tuning was measured to learn well at 1e-05" in said
    assert run.report["merge"] is None
    assert whisper_peft.evaluate(run.folder).wer == run.report["evaluation"]["after"]["wer"]


def test_utterances_in_memory_and_an_adapter_to_train_on_from(run, prompts_en, tmp_path):
    chosen = sorted(prompts_en, key=lambda row: row["duration_s"])[:6]
    rows = [Utterance(str(n), Path(row["file_name"]), row["text"]) for n, row in enumerate(chosen)]
    made = {**SMALL, "data": {"source": rows}, "adapter": {"init": run.folder / "adapter"}}
    second = finetune("lora-librispeech", **made, output_dir=tmp_path / "run")
    assert second.report["data"]["utterances"] == 5
    assert second.report["evaluation"]["before"]["utterances"] == 1
    with pytest.raises(RecipeError, match="memory"):
        finetune(second.folder / "recipe.yaml", output_dir=tmp_path / "again")


def test_a_model_tuned_on_cut_context_is_scored_at_it_too(run):
    evaluation = run.report["evaluation"]
    full, short = evaluation["after"], evaluation["after_short"]
    assert (full["audio_context"], short["audio_context"]) == ("full", "cut")
    assert short.keys() == full.keys()
    assert short["utterances"] == full["utterances"]
    assert short["rtfx"] > full["rtfx"]
    assert "cut context" in run.summary()
    assert short["wer"] == whisper_peft.evaluate(run.folder, eval={"audio_context": "cut"}).wer


@pytest.mark.parametrize("kind", ["auto", "disk"])
def test_kept_encoder_states_are_said_reported_and_removed(speech, tmp_path, capsys, kind):
    made = overrides(
        speech, adapter={"targets": "decoder-only"}, eval={"before": False}, merge={"enabled": False}
    )
    made["train"] = {**made["train"], "max_steps": None, "epochs": 2, "batch_size": 6, "encoder_cache": kind}
    made["train"]["encoder_cache_folder"] = str(tmp_path / "fast")
    run = finetune("decoder-only", **made, output_dir=tmp_path / "run")
    assert "encoder states are kept for later epochs" in capsys.readouterr().out
    use = run.report["train"]["encoder_cache"]
    assert use["kind"] == {"auto": "memory", "disk": "disk"}[kind]
    assert use["hits"] == use["misses"] > 0
    assert use["bytes"] > 50 * 384 * 2 * use["misses"]
    assert re.search(
        r"encoder cache +50\.0 % of \d+ windows were not encoded again: \d+ MiB kept", run.summary()
    )
    assert not list(tmp_path.rglob("*.states"))


def test_the_merged_model_brings_its_scores_at_both_contexts(run):
    evaluation = run.report["evaluation"]
    figures = json.loads((run.folder / "merged" / "audio_context.json").read_text())
    assert figures == {"full": evaluation["after"]["wer"], "cut": evaluation["after_short"]["wer"]}


@pytest.mark.parametrize(
    "sections",
    [
        {"train": {"audio_context": "full"}},
        {"eval": {"short_context": False}},
        {"eval": {"audio_context": "cut"}},
    ],
    ids=["tuned at 30 s", "switched off", "scored at cut context anyway"],
)
def test_there_is_no_second_score_where_it_would_say_nothing(speech, tmp_path, sections):
    sections = {**sections, "merge": {"enabled": False}}
    short = overrides(speech, **sections)
    short["train"] = {**short["train"], "max_steps": 1}
    report = finetune("lora-librispeech", **short, output_dir=tmp_path / "run").report
    assert report["evaluation"]["after_short"] is None
