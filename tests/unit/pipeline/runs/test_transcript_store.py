"""Transcripts are kept by what a recording holds, and never those of another model."""

from whisper_peft.pipeline.runs import transcript_store
from whisper_peft.pipeline.runs.transcript_store import (
    TRANSCRIPTS_FILE,
    TranscriptStore,
    take_over_transcripts,
)


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


def test_a_run_begins_with_what_the_longest_of_the_earlier_ones_heard(tmp_path):
    for name, heard in {"one": {"a": "One."}, "two": {"a": "One.", "b": "Two."}, "none": {}}.items():
        (tmp_path / name).mkdir()
        if heard:
            TranscriptStore(tmp_path / name / TRANSCRIPTS_FILE, "base").keep(heard)
    new = tmp_path / "trials" / "new"
    take_over_transcripts(new, tmp_path.iterdir())
    store = TranscriptStore(new / TRANSCRIPTS_FILE, "base")
    assert (store.find("a"), store.find("b")) == ("One.", "Two.")
    store.keep({"c": "Three."})
    assert TranscriptStore(tmp_path / "two" / TRANSCRIPTS_FILE, "base").find("c") is None
    take_over_transcripts(new, [tmp_path / "one"])
    assert TranscriptStore(new / TRANSCRIPTS_FILE, "base").find("c") == "Three."


def test_where_nothing_was_heard_no_folder_is_made(tmp_path):
    take_over_transcripts(tmp_path / "new", [tmp_path / "missing"])
    assert not (tmp_path / "new").exists()
