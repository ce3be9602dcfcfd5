"""A run folder is gone on with, or left as it is."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.unit.pipeline.runs.short_runs import overrides
from whisper_peft import finetune
from whisper_peft.errors import (
    ResumeError,
    StorageError,
)
from whisper_peft.reporting.json_lines import read_predictions


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


@pytest.fixture(scope="module")
def again(run, speech, tmp_path_factory):
    """Return a finished run that was resumed."""
    folder = tmp_path_factory.mktemp("resumed") / "run"
    shutil.copytree(run.folder, folder)
    return finetune("lora-librispeech", **overrides(speech), output_dir=folder, resume=True)


def test_resuming_a_finished_run_trains_no_further(run, again):
    assert again.report["train"]["steps"] == 3
    assert again.report["train"]["final_loss"] == run.report["train"]["final_loss"]
    assert again.report["evaluation"]["after"]["wer"] == run.report["evaluation"]["after"]["wer"]


def test_resuming_a_finished_run_merges_to_the_same_model(run, again):
    first, second = ({**one.report["merge"], "folder": None} for one in (run, again))
    assert first == second
    first, second = (one.folder / "merged" / "model.safetensors" for one in (run, again))
    assert first.read_bytes() == second.read_bytes()


def test_resuming_with_another_recipe_is_refused(run, speech):
    changed = overrides(speech, train={"learning_rate": 1e-4})
    with pytest.raises(ResumeError, match=r"train\.learning_rate differ.*0\.0001, was 0\.001"):
        finetune("lora-librispeech", **changed, output_dir=run.folder, resume=True)
    with pytest.raises(ResumeError, match="no run to resume"):
        finetune("lora-librispeech", **overrides(speech), output_dir=run.folder / "nothing", resume=True)


def test_a_resumed_run_keeps_its_score_at_cut_context(run, again):
    assert again.report["evaluation"]["after_short"] == run.report["evaluation"]["after_short"]
    kept, before = (read_predictions(one.folder).after_short for one in (again, run))
    assert kept == before != {}
