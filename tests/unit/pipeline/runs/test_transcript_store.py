"""Transcripts are kept by what a recording holds, and never those of another model."""

from whisper_peft.pipeline.runs import transcript_store
from whisper_peft.pipeline.runs.transcript_store import TranscriptStore


def test_what_was_kept_is_found_by_another_process(tmp_path):
    path = tmp_path / "kept.jsonl"
    TranscriptStore(path, "base").keep({"a": "One.\u2028Two", "b": ""})
    again = TranscriptStore(path, "base", writes=False)
    assert (again.find("a"), again.find("b"), again.find("c")) == ("One.\u2028Two", "", None)


def test_transcripts_of_another_model_are_dropped(tmp_path):
    path = tmp_path / "kept.jsonl"
    TranscriptStore(path, "tiny").keep({"a": "One."})
    assert TranscriptStore(path, "base").find("a") is None
    assert TranscriptStore(path, "tiny").find("a") is None


def test_a_line_that_a_crash_left_unfinished_is_cut_off(tmp_path):
    path = tmp_path / "kept.jsonl"
    TranscriptStore(path, "base").keep({"a": "One.", "b": "Two."})
    path.write_bytes(path.read_bytes()[:-5])
    store = TranscriptStore(path, "base")
    assert (store.find("a"), store.find("b")) == ("One.", None)
    store.keep({"b": "Two."})
    assert TranscriptStore(path, "base").find("b") == "Two."


def test_one_process_writes(tmp_path):
    path = tmp_path / "kept.jsonl"
    TranscriptStore(path, "base")
    TranscriptStore(path, "base", writes=False).keep({"a": "One."})
    assert TranscriptStore(path, "base").find("a") is None


def test_memory_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(transcript_store, "MOST_KEPT", 2)
    store = TranscriptStore(tmp_path / "kept.jsonl", "base")
    store.keep({"a": "1", "b": "2", "c": "3"})
    store.keep({"d": "4"})
    assert [store.find(name) for name in "abcd"] == ["1", "2", None, None]
