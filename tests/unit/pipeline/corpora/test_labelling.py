"""Every row of a corpus is written down once, whatever stops the work, and training reads what results."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import soundfile

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.sources.opening import open_source
from whisper_peft.errors import DataError, RecipeError, StorageError
from whisper_peft.evaluation.generation import generate_transcripts
from whisper_peft.model.loading import Whisper
from whisper_peft.pipeline.corpora import corpus_hearing
from whisper_peft.pipeline.corpora.corpus_folder import CorpusFolder
from whisper_peft.pipeline.corpora.labelled_rows import LabelledRow, doubt
from whisper_peft.pipeline.corpora.labelling import label
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import SAMPLING_RATE, Utterance

MODEL = "openai/whisper-tiny.en"

Lines = list[dict[str, Any]]


@pytest.fixture
def loads(tiny_en: Whisper, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of models as they are loaded: always the session's."""
    asked: list[str] = []

    def load(name: str, _: Any) -> Whisper:
        asked.append(name)
        return tiny_en

    monkeypatch.setattr(corpus_hearing, "load_run_or_model", load)
    return asked


@pytest.fixture(scope="module")
def speech(prompts_en: Lines, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of seven short recordings without text: never change it."""
    folder = tmp_path_factory.mktemp("speech")
    for row in sorted(prompts_en, key=lambda row: row["duration_s"])[20:27]:
        shutil.copy(row["file_name"], folder)
    return folder


@pytest.fixture(scope="module")
def whole(speech: Path, tiny_en: Whisper, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what is written of it in one go, in three shards: never change it."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_hearing, "load_run_or_model", lambda name, section: tiny_en)
        label(MODEL, speech, output_dir=folder, shard_rows=3)
    return folder


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    """Return a copy of what is written in one go, which may be changed."""
    shutil.copytree(whole, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def few(speech: Path, tmp_path: Path) -> Path:
    """Return a folder of two of the recordings, which may be changed."""
    folder = tmp_path / "few"
    folder.mkdir()
    for file in sorted(speech.iterdir())[:2]:
        shutil.copy(file, folder)
    return folder


def manifest(folder: Path) -> Lines:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def shards(folder: Path) -> Lines:
    files = sorted((folder / "parts").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_transcripts_are_those_of_evaluation(whole: Path, tiny_en: Whisper) -> None:
    rows = manifest(whole)
    waveforms = [decode(Utterance("", Path(row["audio"]), "")).waveform for row in rows]
    alone = [generate_transcripts(tiny_en, [waveform], language=None)[0] for waveform in waveforms]
    assert [row["text"] for row in rows] == alone


def test_each_row_says_how_sure_the_model_is(whole: Path) -> None:
    for row in manifest(whole):
        assert 0.3 < row["confidence"] < 1
        assert row["confidence"] == pytest.approx(np.exp(row["mean_log_probability"]), abs=1e-3)
        assert row["looping"] is False
        assert {"compression_ratio", "no_speech_probability", "duration_s"} <= row.keys()


def test_work_that_was_stopped_goes_on_and_ends_with_the_same_rows(
    speech: Path, whole: Path, tmp_path: Path, loads: list[str]
) -> None:
    def stop(heard: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(MODEL, speech, output_dir=tmp_path / "out", shard_rows=3, on_shard=stop)
    rest = label(MODEL, speech, output_dir=tmp_path / "out", shard_rows=3)
    assert (rest.found, rest.heard) == (3, 4)
    assert manifest(tmp_path / "out") == manifest(whole)
    assert len({row["id"] for row in shards(tmp_path / "out")}) == len(shards(tmp_path / "out")) == 7


def test_finished_corpus_loads_no_model(speech: Path, out: Path, loads: list[str]) -> None:
    again = label(MODEL, speech, output_dir=out)
    assert (again.heard, again.found, loads) == (0, 7, [])


def test_new_recordings_are_heard_without_the_old_ones(
    few: Path, prompts_en: Lines, tmp_path: Path, loads: list[str]
) -> None:
    label(MODEL, few, output_dir=tmp_path / "out")
    shutil.copy(prompts_en[0]["file_name"], few / "a-new-one.flac")
    again = label(MODEL, few, output_dir=tmp_path / "out")
    assert (again.heard, again.rows) == (1, 3)


@pytest.mark.parametrize("damage", ["shard", "manifest", "unfinished"])
def test_damaged_shard_is_heard_again(speech: Path, out: Path, loads: list[str], damage: str) -> None:
    before, parts = manifest(out), out / "parts"
    if damage == "shard":
        os.truncate(parts / "part-000001.jsonl", 100)
    elif damage == "manifest":
        (parts / "part-000001.json").write_text("{")
    else:
        (parts / "part-000001.json").unlink()
    again = label(MODEL, speech, output_dir=out, shard_rows=3)
    assert (again.heard, again.rows) == (3, 7)
    assert manifest(out) == before
    assert sorted(row["id"] for row in shards(out)) == [row["id"] for row in before]


def test_shard_that_is_heard_twice_counts_once(tmp_path: Path) -> None:
    corpus = CorpusFolder(tmp_path)
    corpus.open({})
    rows = [(LabelledRow("a@0", "a", text="one"), None), (LabelledRow("a@5", "a", text="two"), None)]
    corpus.add(rows)
    corpus.add([*rows, (LabelledRow("b", "b"), None)])
    assert [row.id for row in corpus.rows()] == ["a@0", "a@5", "b"]


def test_unusable_recordings_are_counted_by_reason_and_stay_out(
    few: Path, tmp_path: Path, loads: list[str]
) -> None:
    (few / "broken.wav").write_bytes(b"no sound at all")
    soundfile.write(few / "empty.wav", np.zeros(0, np.float32), SAMPLING_RATE)
    result = label(MODEL, few, output_dir=tmp_path / "out")
    assert result.rows == 2
    assert sum(result.left_out.values()) == 2
    reasons = {row["id"]: row["reason"] for row in shards(tmp_path / "out") if "reason" in row}
    assert reasons.keys() == {"broken", "empty"}
    assert set(reasons.values()) == result.left_out.keys()


def test_rows_in_a_language_that_the_model_lacks_are_counted(
    speech: Path, tmp_path: Path, loads: list[str]
) -> None:
    files = sorted(speech.iterdir())
    rows = [{"audio": str(file), "lang": "en"} for file in files[:2]]
    lines = [*rows, {"audio": str(files[2]), "lang": "fr"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    result = label(MODEL, tmp_path / "rows.jsonl", output_dir=tmp_path / "out", data={"text_column": "none"})
    assert (result.rows, result.left_out) == (2, {"unknown-language": 1})


def test_least_confidence_changes_afterwards_without_hearing(speech: Path, out: Path) -> None:
    sure = sorted(row["confidence"] for row in manifest(out))
    result = label(MODEL, speech, output_dir=out, min_confidence=sure[3])
    assert (result.heard, result.rows, result.left_out) == (0, 4, {"low-confidence": 3})
    assert min(row["confidence"] for row in manifest(out)) == sure[3]


def test_training_reads_what_comes_of_it(whole: Path) -> None:
    rows = list(open_source(DataSection(source=str(whole)), "all"))
    assert [row.text for row in rows] == [row["text"] for row in manifest(whole)]
    assert all(decode(row).waveform.any() for row in rows)


def test_text_of_the_source_is_kept_beside_the_models(
    prompts_en: Lines, root: Path, tmp_path: Path, loads: list[str]
) -> None:
    lines = [{"audio": row["file_name"], "text": row["text"]} for row in prompts_en[:2]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    label(MODEL, tmp_path / "rows.jsonl", output_dir=tmp_path / "out")
    assert {row["reference"] for row in manifest(tmp_path / "out")} == {row["text"] for row in lines}


def test_shards_in_parquet_hold_the_same_rows(few: Path, tmp_path: Path, loads: list[str]) -> None:
    label(MODEL, few, output_dir=tmp_path / "jsonl")
    label(MODEL, few, output_dir=tmp_path / "parquet", format="parquet")
    table = pyarrow.parquet.read_table(tmp_path / "parquet" / "parts" / "part-000000.parquet").to_pylist()
    plain = [{name: value for name, value in row.items() if value is not None} for row in table]
    assert plain == shards(tmp_path / "jsonl")
    assert manifest(tmp_path / "parquet") == manifest(tmp_path / "jsonl")


def test_long_recording_becomes_stretches_that_training_cuts_out(
    prompts_en: Lines, tmp_path: Path, loads: list[str]
) -> None:
    pause = np.zeros(SAMPLING_RATE, np.float32)
    spoken = [decode(Utterance("", Path(row["file_name"]), "")).waveform for row in prompts_en]
    parts = [part for waveform in sorted(spoken, key=len)[-10:] for part in (waveform, pause)]
    soundfile.write(tmp_path / "talk.wav", np.concatenate(parts), SAMPLING_RATE)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"audio": "talk.wav", "text": "All of it."}))
    label(MODEL, tmp_path / "rows.jsonl", output_dir=tmp_path / "out")
    rows = manifest(tmp_path / "out")
    assert len(rows) > 1
    assert len({row["id"] for row in rows}) == len(rows)
    assert not any("reference" in row for row in rows)
    stretches = list(open_source(DataSection(source=str(tmp_path / "out")), "all"))
    for row, stretch in zip(rows, stretches, strict=True):
        assert len(decode(stretch).waveform) / SAMPLING_RATE == pytest.approx(row["duration_s"], abs=0.01)
        assert row["duration_s"] <= 30


def test_recordings_that_lie_in_no_file_are_written_beside(
    speech: Path, tmp_path: Path, loads: list[str]
) -> None:
    files = sorted(speech.iterdir())[:2]
    rows = [{"id": file.stem, "audio": {"bytes": file.read_bytes()}, "text": ""} for file in files]
    label(MODEL, rows, output_dir=tmp_path / "out")
    label(MODEL, files[0], output_dir=tmp_path / "file")
    for file, row in zip(files, manifest(tmp_path / "out"), strict=True):
        written = decode(Utterance("", tmp_path / "out" / row["audio"], "")).waveform
        recorded = decode(Utterance("", file, "")).waveform
        assert np.abs(written - recorded).max() < 1e-4
    assert manifest(tmp_path / "out")[0]["text"] == manifest(tmp_path / "file")[0]["text"]


def test_transcripts_of_other_work_do_not_go_into_the_folder(speech: Path, out: Path) -> None:
    with pytest.raises(StorageError, match=r"run_or_model openai/whisper-tiny\.en \(now other\)"):
        label("other", speech, output_dir=out)
    with pytest.raises(StorageError, match="audio_context full"):
        label(MODEL, speech, output_dir=out, audio_context="cut")


def test_work_that_wrote_nothing_binds_nobody(few: Path, tmp_path: Path, loads: list[str]) -> None:
    with pytest.raises(DataError, match="language"):
        label(MODEL, few, output_dir=tmp_path / "out", model={"language": "fr"})
    assert label(MODEL, few, output_dir=tmp_path / "out").rows == 2


def test_corpus_without_a_usable_row_is_an_error(tmp_path: Path, loads: list[str]) -> None:
    (tmp_path / "broken.wav").write_bytes(b"no sound at all")
    with pytest.raises(DataError, match=r"no row to learn from - all are left out: 1 "):
        label(MODEL, tmp_path / "broken.wav", output_dir=tmp_path / "out")


@pytest.mark.parametrize(
    "unfit", [{"min_confidence": 1.5}, {"workers": -1}, {"shard_rows": 0}, {"batch_size": 0}]
)
def test_unfit_value_is_refused_by_its_name(speech: Path, tmp_path: Path, unfit: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=next(iter(unfit))):
        label(MODEL, speech, output_dir=tmp_path / "out", **unfit)
    assert not (tmp_path / "out").exists()


def test_workers_without_ray_are_refused_before_any_work(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DataError, match=r"whisper-peft\[cluster\]"):
        label(MODEL, speech, output_dir=tmp_path / "out", workers=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"looping": True}, "looping"),
        ({"compression_ratio": 2.5}, "repetitive"),
        ({"no_speech_probability": 0.7, "mean_log_probability": -1.1}, "silent"),
        ({"no_speech_probability": 0.7, "mean_log_probability": -0.9}, None),
        ({"text": " "}, "no-text"),
        ({"confidence": 0.4}, "low-confidence"),
        ({"reason": "unreadable", "looping": True}, "unreadable"),
    ],
)
def test_row_is_left_out_for_the_reason_that_it_has(fields: dict[str, Any], reason: str | None) -> None:
    good = {"text": "Hello.", "confidence": 0.9, "compression_ratio": 0.8, "mean_log_probability": -0.1}
    assert doubt(LabelledRow("a", "a", **{**good, **fields}), 0.5) == reason


@pytest.fixture
def command(speech: Path) -> Callable[..., list[str]]:
    def words(output_dir: Path, *more: str) -> list[str]:
        verb = [sys.executable, "-c", "from whisper_peft import main; main()", "label", MODEL, str(speech)]
        return [*verb, "--output-dir", str(output_dir), "--shard-rows", "2", *more]

    return words


@pytest.mark.slow
def test_two_ray_workers_write_what_one_process_writes(
    command: Callable[..., list[str]], tmp_path: Path
) -> None:
    pytest.importorskip("ray.data")
    subprocess.run(command(tmp_path / "alone"), check=True)
    subprocess.run(command(tmp_path / "ray", "--workers", "2"), check=True)
    assert manifest(tmp_path / "ray") == manifest(tmp_path / "alone")
    assert len(shards(tmp_path / "ray")) == 7


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_killed_driver_leaves_whole_shards_and_the_next_one_ends_with_every_row_once(
    command: Callable[..., list[str]], tmp_path: Path, workers: str
) -> None:
    pytest.importorskip("ray.data")
    killed = subprocess.Popen(command(tmp_path / "out", "--workers", workers))
    deadline = time.monotonic() + 200
    while not list((tmp_path / "out").glob("parts/*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "out" / "metadata.jsonl").exists()
    finished = len(shards(tmp_path / "out"))
    assert 0 < finished < 7
    counts = tmp_path / "counts.json"
    subprocess.run(command(tmp_path / "out", "--json", str(counts)), check=True)
    told = json.loads(counts.read_text())
    assert told["found"] >= 2
    assert told["found"] + told["heard"] == 7
    ids = [row["id"] for row in shards(tmp_path / "out")]
    assert len(ids) == len(set(ids)) == 7
    subprocess.run(command(tmp_path / "whole"), check=True)
    assert manifest(tmp_path / "out") == manifest(tmp_path / "whole")
