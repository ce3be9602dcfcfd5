"""finetune() from the outside: the run folder, its report, resuming, and every verb on the result."""

import errno
import json
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors import SafetensorError

import whisper_peft
from whisper_peft import Utterance, finetune
from whisper_peft.deploy.merging import merge_adapter
from whisper_peft.errors import (
    AdapterError,
    DataError,
    MergeError,
    ModelError,
    RecipeError,
    ResumeError,
    StorageError,
    WhisperPeftError,
)
from whisper_peft.pipeline.runs.speech import clips_to_compare
from whisper_peft.recipe.sections import MergeSection, ModelSection
from whisper_peft.recipe.yaml_files import read_recipe
from whisper_peft.reporting.json_lines import read_predictions

SMALL = {
    "model": {"name": "openai/whisper-tiny.en", "device": "cpu"},
    "adapter": {"r": 4, "targets": "attention"},
    "train": {"max_steps": 3, "batch_size": 2, "learning_rate": 1e-3, "workers": 0, "checkpoint_steps": 2},
    "eval": {"max_utterances": 3, "health": "off"},
    "merge": {"clips": 2},
}


@pytest.fixture(scope="session")
def speech(tmp_path_factory, prompts_en):
    """Return a manifest of a few short English prompts."""
    path = tmp_path_factory.mktemp("speech") / "short.jsonl"
    chosen = sorted(prompts_en, key=lambda row: row["duration_s"])[:12]
    path.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    return path


def overrides(speech, **sections):
    data = {"source": str(speech), "train": "train", "eval": "test"}
    merged = {**SMALL, "data": data}
    return {name: {**merged.get(name, {}), **sections.get(name, {})} for name in {*merged, *sections}}


@pytest.fixture(scope="session")
def run(speech, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return finetune("lora-librispeech", **overrides(speech), output_dir=folder)


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
    assert len(predictions.before) == len(predictions.after) == 3
    after = run.report["evaluation"]["after"]
    errors = sum(p.substitutions + p.deletions + p.insertions for p in predictions.after.values())
    words = sum(p.substitutions + p.deletions + p.hits for p in predictions.after.values())
    assert errors / words == pytest.approx(after["wer"])


def test_the_written_recipe_runs_again_to_the_same_numbers(run, tmp_path):
    again = finetune(run.folder / "recipe.yaml", output_dir=tmp_path / "again")
    assert again.report["train"]["final_loss"] == run.report["train"]["final_loss"]
    assert again.report["evaluation"]["after"]["wer"] == run.report["evaluation"]["after"]["wer"]
    recipes = [read_recipe(folder / "recipe.yaml") for folder in (run.folder, again.folder)]
    assert recipes[0] == recipes[1]


def test_a_finished_run_is_not_overwritten(run, speech):
    with pytest.raises(StorageError, match=r"holds another run.*--resume"):
        finetune("lora-librispeech", **overrides(speech), output_dir=run.folder)


def test_an_interrupted_run_resumes_to_the_same_end_and_scores_before_only_once(run, speech, tmp_path):
    def press_ctrl_c(event):
        if event.kind == "step" and event.step == 1:
            signal.raise_signal(signal.SIGINT)

    folder = tmp_path / "run"
    stopped = finetune("lora-librispeech", **overrides(speech), output_dir=folder, callbacks=[press_ctrl_c])
    assert stopped.interrupted
    assert (stopped.folder / "adapter" / "adapter_model.safetensors").is_file()
    assert stopped.report["evaluation"]["after"] is None
    resumed = finetune(folder / "recipe.yaml", output_dir=folder, resume=True)
    assert not resumed.interrupted
    assert resumed.report["train"]["final_loss"] == run.report["train"]["final_loss"]
    assert resumed.report["evaluation"]["before"]["rtfx"] == stopped.report["evaluation"]["before"]["rtfx"]
    adapter = Path("adapter") / "adapter_model.safetensors"
    assert (folder / adapter).read_bytes() == (run.folder / adapter).read_bytes()


def test_resuming_a_finished_run_trains_no_further(run, speech, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    again = finetune("lora-librispeech", **overrides(speech), output_dir=folder, resume=True)
    assert again.report["train"]["steps"] == 3
    assert again.report["train"]["final_loss"] == run.report["train"]["final_loss"]
    assert again.report["evaluation"]["after"]["wer"] == run.report["evaluation"]["after"]["wer"]


def test_resuming_with_another_recipe_is_refused(run, speech):
    changed = overrides(speech, train={"learning_rate": 1e-4})
    with pytest.raises(ResumeError, match=r"train\.learning_rate differ.*0\.0001, was 0\.001"):
        finetune("lora-librispeech", **changed, output_dir=run.folder, resume=True)
    with pytest.raises(ResumeError, match="no run to resume"):
        finetune("lora-librispeech", **overrides(speech), output_dir=run.folder / "nothing", resume=True)


def test_evaluating_the_run_gives_the_number_of_the_report(run):
    result = whisper_peft.evaluate(run.folder)
    assert result.wer == run.report["evaluation"]["after"]["wer"]
    merged = whisper_peft.evaluate(run.folder / "merged", data={"source": run_source(run), "eval": "test"},
                                   eval={"max_utterances": 3})  # fmt: skip
    assert merged.wer == result.wer


def run_source(run):
    return yaml.safe_load((run.folder / "recipe.yaml").read_text())["data"]["source"]


def test_an_unknown_language_is_an_error_though_every_row_has_its_own(run):
    with pytest.raises(DataError, match=r"language 'klingon' is unknown"):
        whisper_peft.evaluate(run.folder, model={"language": "klingon"}, eval={"max_utterances": 1})


def test_merging_again_gives_the_same_model(run, tmp_path):
    result = whisper_peft.merge(run.folder, output_dir=tmp_path / "merged")
    assert result.transcripts_equal
    weights = "model.safetensors"
    assert (tmp_path / "merged" / weights).read_bytes() == (run.folder / "merged" / weights).read_bytes()
    with pytest.raises(StorageError, match="in use"):
        whisper_peft.merge(run.folder, output_dir=tmp_path / "merged")


def test_a_merge_past_the_tolerance_is_refused_and_leaves_nothing(run, tmp_path):
    with pytest.raises(MergeError, match=r"differ by up to .*tolerance is 1e-12"):
        whisper_peft.merge(run.folder, output_dir=tmp_path / "merged", max_logit_difference=1e-12)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_or_made_is_said_before_the_work(run, speech, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")

    def load(*args, **kwargs):
        raise AssertionError("weights were loaded first")

    monkeypatch.setattr("whisper_peft.deploy.merging.load_run_or_model", load)
    monkeypatch.setattr("whisper_peft.pipeline.operations.load_run_or_model", load)
    with pytest.raises(StorageError, match=r"merged cannot be made.*--output-dir"):
        whisper_peft.merge(run.folder, output_dir=file / "merged")
    with pytest.raises(StorageError, match="cannot be written"):
        whisper_peft.transcribe(run.folder, [speech], output_dir=file, formats=["srt"])
    for files in ([], [tmp_path / "no.wav"]):
        with pytest.raises(DataError, match=r"no recording was named|no such file"):
            whisper_peft.transcribe(run.folder, files)


def test_a_run_transcribes(run, prompts_en, tmp_path):
    row = next(row for row in prompts_en if row["duration_s"] > 3)
    (transcript,) = whisper_peft.transcribe(
        run.folder, [row["file_name"]], output_dir=tmp_path, formats=["srt", "json"]
    )
    assert transcript.text
    assert {path.suffix for path in tmp_path.iterdir()} == {".srt", ".json"}


def test_transcripts_are_on_disk_when_a_later_recording_fails(run, prompts_en, tmp_path):
    first, second = (Path(row["file_name"]) for row in prompts_en[:2])
    finished = []

    def fail_at_the_second(transcript):
        finished.append(transcript.file)
        if len(finished) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        whisper_peft.transcribe(
            run.folder, [first, second], output_dir=tmp_path, on_finished=fail_at_the_second
        )
    assert {path.name for path in tmp_path.iterdir()} == {f"{path.stem}.txt" for path in (first, second)}


def test_the_report_is_written_anew(run):
    page = run.folder / "report.html"
    page.unlink()
    assert whisper_peft.report(run.folder) == page
    assert page.stat().st_size > 10_000


def test_int8_training_merges_in_float_and_says_the_price(speech, tmp_path):
    made = overrides(speech, model={"quantize": "int8"}, train={"max_steps": 2})
    report = finetune("qlora-librispeech", **made, output_dir=tmp_path / "run").report
    assert report["merge"]["max_logit_difference"] < 1e-3
    assert report["merge"]["quantized_max_logit_difference"] > report["merge"]["max_logit_difference"]
    assert 0 <= report["merge"]["quantized_transcripts_equal"] <= 1


def test_full_fine_tuning_leaves_a_whole_model(speech, tmp_path):
    made = overrides(speech, train={"max_steps": 1, "learning_rate": 1e-5}, adapter={"method": "full"})
    run = finetune("lora-librispeech", **made, output_dir=tmp_path / "run")
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


BAD = {
    "a missing source": ({"data": {"source": "no/such/folder.jsonl"}}, DataError, "missing"),
    "an unknown split": ({"data": {"train": "trian"}}, DataError, "did you mean train"),
    "an unknown model": ({"model": {"name": "openai/whisper-tinny.en"}}, ModelError, "did you mean"),
    "another language for an English-only model": ({"model": {"language": "fr"}}, WhisperPeftError, "fr"),
    "an unknown adapter target": ({"adapter": {"targets": "attenton"}}, AdapterError, "did you mean"),
    "an adapter to train on from that is none": (
        {"adapter": {"init": "no/adapter"}}, AdapterError, "no adapter_config.json",
    ),
    "int8 with full fine-tuning": (
        {"model": {"quantize": "int8"}, "adapter": {"method": "full"}}, AdapterError, "full",
    ),
    "an unknown field": ({"train": {"max_step": 1}}, RecipeError, "did you mean train.max_steps"),
    "a bad value": ({"train": {"batch_size": 0}}, RecipeError, "train.batch_size"),
    "patience without evaluations": (
        {"train": {"early_stopping_patience": 2}}, RecipeError, r"without eval\.steps",
    ),
    "noise without recordings": ({"augment": {"noise": {"p": 1.0}}}, WhisperPeftError, "noise"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_clear_error_before_any_work_and_leaves_nothing(case, speech, tmp_path, monkeypatch):
    def work(*args, **kwargs):
        raise AssertionError("the untuned model was scored first")

    monkeypatch.setattr("whisper_peft.pipeline.runs.run_scores.evaluate_utterances", work)
    sections, error, words = BAD[case]
    with pytest.raises(error, match=words):
        finetune("lora-librispeech", **overrides(speech, **sections), output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_disk_that_fills_up_is_said_with_how_to_go_on(speech, tmp_path, monkeypatch):
    def write(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("whisper_peft.pipeline.runs.stages.JsonLog.__call__", write)
    with pytest.raises(StorageError, match=r"No space left on device.*--resume --output-dir"):
        finetune("lora-librispeech", **overrides(speech), output_dir=tmp_path / "run")


def test_a_run_that_heard_nothing_is_no_success(tmp_path, prompts_en):
    good = [Utterance(row["file_name"], Path(row["file_name"]), row["text"]) for row in prompts_en[:1]]
    bad = [Utterance(str(n), np.full(16_000, np.nan), "Hello.", sampling_rate=16_000) for n in range(2)]
    rows = {"train": bad, "test": good}
    made = overrides("", data={"source": rows})
    with pytest.raises(DataError, match=r"3 steps - left out: \d \(\d not-finite\)"):
        finetune("lora-librispeech", **made, output_dir=tmp_path / "run")


def test_what_scoring_skips_is_named_in_its_line(tmp_path, prompts_en, monkeypatch, capsys):
    good = [Utterance(row["file_name"], Path(row["file_name"]), row["text"]) for row in prompts_en[1:3]]
    bad = Utterance("bad", np.full(16_000, np.nan), "Hello.", sampling_rate=16_000)

    def train(*args, **kwargs):
        raise MergeError("enough")

    monkeypatch.setattr("whisper_peft.pipeline.runs.stages.Finetuning._train", train)
    made = overrides("", data={"source": {"train": good[:1], "test": [good[1], bad]}})
    with pytest.raises(MergeError):
        finetune("lora-librispeech", **made, output_dir=tmp_path / "run")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WER before:")]
    assert line.endswith(", 1 utterances, skipped: 1 (1 not-finite)")


def test_a_disk_that_fills_up_while_merging_keeps_adapter_and_report(speech, tmp_path, monkeypatch):
    def write(*args):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("whisper_peft.deploy.merging._write_merged", write)
    made = overrides(speech, train={"max_steps": 1}, eval={"max_utterances": 1, "before": False})
    with pytest.raises(StorageError, match=r"merged model cannot be written to .*No space left on device"):
        finetune("lora-librispeech", **made, output_dir=tmp_path / "run")
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["merge"] is None
    assert report["evaluation"]["after"]["utterances"] == 1


def test_a_multilingual_checkpoint_needs_a_language(speech, tmp_path, prompts_en):
    rows = [Utterance(str(n), Path(row["file_name"]), row["text"]) for n, row in enumerate(prompts_en[:4])]
    made = overrides(speech, model={"name": "openai/whisper-base"}, data={"source": rows})
    del made["data"]["train"], made["data"]["eval"]
    with pytest.raises(WhisperPeftError, match=r"no language.*model\.language"):
        finetune("lora-librispeech", **made, output_dir=tmp_path / "run")


def test_an_output_folder_that_cannot_be_made_is_said(speech, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"output_dir .*cannot be written"):
        finetune("lora-librispeech", **overrides(speech), output_dir=tmp_path / "file" / "run")


def test_resuming_a_finished_run_ends_as_it_did(speech, tmp_path):
    made = overrides(speech, train={"max_steps": 2})
    first = finetune("lora-librispeech", **made, output_dir=tmp_path / "run")
    merged = (tmp_path / "run" / "merged" / "model.safetensors").read_bytes()
    again = finetune("lora-librispeech", **made, output_dir=tmp_path / "run", resume=True)
    assert again.report["merge"] == first.report["merge"]
    assert again.report["train"]["final_loss"] == first.report["train"]["final_loss"]
    assert (tmp_path / "run" / "merged" / "model.safetensors").read_bytes() == merged


def test_clips_that_whisper_cannot_take_whole_do_not_stop_the_merge(run, prompts_en, tmp_path):
    short = min(prompts_en, key=lambda row: row["duration_s"])
    rows = [
        Utterance("too long", np.zeros(31 * 16_000, np.float32), "Silence.", sampling_rate=16_000),
        Utterance("wordy", Path(short["file_name"]), "word " * 600),
    ]
    clips = clips_to_compare(rows, 2)
    assert [clip.id for clip in clips] == ["wordy"]
    section = ModelSection(name="openai/whisper-tiny.en", device="cpu")
    result = merge_adapter(
        run.folder, section, clips=clips, output_dir=tmp_path / "merged", how=MergeSection()
    )
    assert result.clips == 1


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


def test_a_cache_that_could_find_nothing_is_refused_before_anything_costly(speech, tmp_path):
    made = overrides(speech, augment={"gain": {"p": 0.5}}, model={"name": "no such model"})
    made["train"] = {**made["train"], "encoder_cache": "memory"}
    with pytest.raises(
        RecipeError, match=r"train\.encoder_cache is memory, and augment\.gain changes the speech"
    ):
        finetune("decoder-only", **made, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_merged_model_brings_its_scores_at_both_contexts(run):
    evaluation = run.report["evaluation"]
    figures = json.loads((run.folder / "merged" / "audio_context.json").read_text())
    assert figures == {"full": evaluation["after"]["wer"], "cut": evaluation["after_short"]["wer"]}


def test_a_resumed_run_keeps_its_score_at_cut_context(run, speech, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    again = finetune("lora-librispeech", **overrides(speech), output_dir=folder, resume=True)
    assert again.report["evaluation"]["after_short"] == run.report["evaluation"]["after_short"]


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
