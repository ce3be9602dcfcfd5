"""Every verb on a finished run: evaluate, merge, transcribe and report."""

from pathlib import Path

import numpy as np
import pytest
import yaml

import whisper_peft
from whisper_peft import Utterance
from whisper_peft.deploy.merging import merge_adapter
from whisper_peft.errors import (
    DataError,
    MergeError,
    StorageError,
)
from whisper_peft.pipeline.runs.speech import clips_to_compare
from whisper_peft.recipe.sections import MergeSection, ModelSection


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
