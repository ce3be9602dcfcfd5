"""Training text gets the base model's case and punctuation; each recording is heard once, ever."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whisper_peft import finetune
from whisper_peft.data.sources.opening import open_split
from whisper_peft.errors import RecipeError
from whisper_peft.pipeline.runs import restoring
from whisper_peft.pipeline.runs.restoring import Restorer, restored
from whisper_peft.pipeline.runs.transcript_store import TranscriptStore, describe_base
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Segment, Utterance

SMALL = {
    "model": {"name": "openai/whisper-tiny.en", "device": "cpu"},
    "adapter": {"r": 4, "targets": "attention"},
    "train": {"max_steps": 2, "batch_size": 2, "workers": 0},
    "eval": {"before": False, "max_utterances": 1, "short_context": False, "health": "off"},
    "merge": {"enabled": False},
}


def rows(prompts, count):
    """Return the shortest sentences in capitals, as many corpora write."""
    sentences = [row for row in prompts if len(row["text"].split()) > 2]
    chosen = sorted(sentences, key=lambda row: row["duration_s"])[:count]
    return [
        Utterance(Path(row["file_name"]).stem, Path(row["file_name"]), row["text"].upper().replace(",", ""))
        for row in chosen
    ]


@pytest.fixture
def restorer(tiny_en, tmp_path):
    store = TranscriptStore(tmp_path / "kept.jsonl", describe_base(tiny_en))
    return Restorer(tiny_en, store, None, "transcribe", fits=lambda row: True, batch_size=4)


@pytest.fixture
def deaf(monkeypatch):
    """Count what is listened to, and let every recording say the same."""
    heard = []

    def listen(whisper, waveforms, *, language, task):
        heard.append((len(waveforms), language, task))
        return ["Hello, Bob."] * len(waveforms)

    monkeypatch.setattr(restoring, "generate_transcripts", listen)
    monkeypatch.setattr(restoring, "decode", lambda row: row.with_audio(np.zeros(1600, np.float32)))
    return heard


def recording(name, text="HELLO BOB", **fields):
    return Utterance(name, name.encode(), text, **fields)


def test_real_speech_is_heard_and_written_as_the_base_writes(restorer, prompts_en):
    speech = rows(prompts_en, 8)
    written = restorer(speech)
    assert [row.text.upper().rstrip(".!?") for row in written] == [row.text.rstrip(".!?") for row in speech]
    assert sum(row.text[-1:] in ".!?" for row in written) >= 6
    assert sum(row.text[0].isupper() for row in written) >= 6  # some are parts of sentences
    assert not any(row.text.isupper() for row in written)


def test_what_was_heard_is_not_heard_again(restorer, deaf):
    speech = [recording("a"), recording("b")]
    first, again = restorer(speech), restorer([*speech, recording("c")])
    assert [row.text for row in again] == ["Hello, Bob."] * 3
    assert again[:2] == first
    assert [count for count, *_ in deaf] == [2, 1]


def test_a_run_that_goes_on_listens_to_what_is_new_alone(restorer, deaf):
    restorer([recording("a")])
    later = replace(restorer, store=TranscriptStore(restorer.store.path, restorer.store.base))
    assert later([recording("a"), recording("b")])[0].text == "Hello, Bob."
    assert [count for count, *_ in deaf] == [1, 1]


def test_stretches_of_one_recording_are_not_taken_for_each_other(restorer, deaf):
    restorer([recording("a", start_s=0.0, end_s=1.0), recording("a", start_s=1.0, end_s=2.0)])
    assert [count for count, *_ in deaf] == [2]


def test_rows_of_two_tasks_are_heard_apart(restorer, deaf):
    restorer([recording("a"), recording("b", task="translate"), recording("c")])
    assert sorted((count, task) for count, _, task in deaf) == [(1, "translate"), (2, "transcribe")]


def test_a_recording_that_cannot_be_heard_is_put_in_sentence_case(restorer):
    assert restorer([Utterance("a", b"no audio", "HELLO BOB")])[0].text == "Hello bob"


def test_text_that_the_decoder_has_no_room_for_is_put_in_sentence_case(restorer, deaf):
    tight = replace(restorer, fits=lambda row: not row.text.endswith("."))
    assert tight([recording("a")])[0].text == "Hello bob"


def test_timed_parts_and_the_text_before_follow():
    row = recording(
        "a",
        "HELLO BOB GOOD DAY",
        segments=(Segment(0, 1, "HELLO BOB"), Segment(1, 2, "GOOD DAY")),
        previous_text="WHO IS IT",
    )
    changed = restored(row, "Hello, Bob. Good day!")
    assert [part.text for part in changed.segments] == ["Hello, Bob.", "Good day!"]
    assert changed.previous_text == "Who is it"
    other = restored(replace(row, segments=(Segment(0, 1, "SOMETHING ELSE"),)), "Hello, Bob. Good day!")
    assert [part.text for part in other.segments] == ["Something else"]


def test_another_model_has_another_name(tiny_en, base):
    assert describe_base(tiny_en) == describe_base(tiny_en) != describe_base(base)


def test_a_recording_that_is_told_otherwise_is_heard_again(restorer, deaf):
    told = [recording("a"), recording("a", task="translate"), recording("a", language="en")]
    restorer(told)
    assert sum(count for count, *_ in deaf) == 3


@pytest.fixture
def capitals(tmp_path, prompts_en):
    """Return a manifest of short prompts in capitals, with a split to score."""
    path = tmp_path / "capitals.jsonl"
    speech = [
        {"audio": str(row.audio), "text": row.text, "split": "test" if place < 2 else "train"}
        for place, row in enumerate(rows(prompts_en, 10))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in speech), encoding="utf-8")
    return path


def sections(capitals, **data):
    data = {"source": str(capitals), "train": "train", "eval": "test", "text_case": "restore", **data}
    return {**SMALL, "data": data}


def test_a_run_hears_what_it_learns_from_once_and_keeps_it(capitals, tmp_path, monkeypatch):
    run = finetune("lora-librispeech", **sections(capitals), output_dir=tmp_path / "run")
    lines = (run.folder / "base_transcripts.jsonl").read_text(encoding="utf-8").splitlines()
    assert 3 <= len(lines) - 1 <= 6  # two steps of about two rows, of eight
    assert run.report["cost"]["stages"]["restore text"]["seconds"] > 0
    monkeypatch.setattr(restoring, "generate_transcripts", None)
    (run.folder / "report.json").unlink()
    again = finetune("lora-librispeech", **sections(capitals), output_dir=run.folder, resume=True)
    assert again.report["train"]["steps"] == 2


def test_of_a_large_corpus_that_is_replayed_only_what_is_learned_is_heard(capitals, tmp_path, prompts_en):
    other = tmp_path / "other.jsonl"
    speech = [{"audio": str(row.audio), "text": row.text} for row in rows(prompts_en, 30)[10:]]
    other.write_text("".join(json.dumps(row) + "\n" for row in speech), encoding="utf-8")
    replayed = {"source": str(other), "share": 0.2, "train": "all", "eval": None, "text_case": "restore"}
    small = sections(capitals, mix=[replayed])
    small["train"] = {**SMALL["train"], "max_steps": None, "epochs": 1}
    run = finetune("lora-librispeech", **small, output_dir=tmp_path / "run")
    lines = (run.folder / "base_transcripts.jsonl").read_text(encoding="utf-8").splitlines()
    assert 8 + 1 <= len(lines) - 1 <= 8 + 4  # of 8 and 20


@pytest.fixture
def stream(tmp_path, prompts_en):
    """Return a folder of parquet shards, which are streamed."""
    speech = rows(prompts_en, 10)
    table = pa.table(
        {
            "id": [row.id for row in speech],
            "audio": [{"bytes": row.audio.read_bytes(), "path": None} for row in speech],
            "text": [row.text for row in speech],
        }
    )
    folder = tmp_path / "parquet"
    folder.mkdir()
    pq.write_table(table, folder / "train-00000-of-00001.parquet")
    pq.write_table(table.slice(0, 2), folder / "test-00000-of-00001.parquet")
    return folder


def test_a_stream_is_heard_as_it_passes_by_the_model_without_its_adapter(stream, tmp_path, restorer):
    small = sections(stream, shuffle_window=4)
    small["train"] = {**SMALL["train"], "max_steps": 4, "learning_rate": 1e-2}
    small["eval"] = {**SMALL["eval"], "batch_size": 4}
    run = finetune("lora-librispeech", **small, output_dir=tmp_path / "run")
    lines = (run.folder / "base_transcripts.jsonl").read_text(encoding="utf-8").splitlines()
    kept = {row["text"] for row in map(json.loads, lines[1:])}
    restorer(list(open_split(DataSection(source=str(stream), train="train"), "train")))
    untuned = restorer.store.path.read_text(encoding="utf-8").splitlines()[1:]
    assert len(kept) > 4
    assert kept <= {json.loads(line)["text"] for line in untuned}


def test_a_stream_is_refused_where_the_base_itself_learns(stream, tmp_path):
    small = {**sections(stream), "adapter": {"method": "full"}}
    with pytest.raises(RecipeError, match="restore, for a stream and full fine-tuning"):
        finetune("lora-librispeech", **small, output_dir=tmp_path / "run")
