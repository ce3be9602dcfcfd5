"""What cannot go well is said before any work; what fails on the way is said with what is left."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from tests.unit.pipeline.runs.short_runs import overrides
from whisper_peft import Utterance, finetune
from whisper_peft.errors import (
    AdapterError,
    DataError,
    MergeError,
    ModelError,
    RecipeError,
    StorageError,
    WhisperPeftError,
)

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
    assert line.endswith(", 1 utterance, skipped: 1 (1 not-finite)")


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


def test_a_cache_that_could_find_nothing_is_refused_before_anything_costly(speech, tmp_path):
    made = overrides(speech, augment={"gain": {"p": 0.5}}, model={"name": "no such model"})
    made["train"] = {**made["train"], "encoder_cache": "memory"}
    with pytest.raises(
        RecipeError, match=r"train\.encoder_cache is memory, and augment\.gain changes the speech"
    ):
        finetune("decoder-only", **made, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
