"""Files of transcripts: times, escapes, names and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from whisper_peft.errors import EvaluationError, StorageError
from whisper_peft.evaluation.transcript_formats import (
    check_folder,
    check_format,
    file_names,
    write_transcript,
)
from whisper_peft.types import Segment, Transcript

TALK = Transcript(
    file="recordings/talk.2.wav",
    text="Cats & dogs --> <b>été</b> End.",
    language="en",
    duration_s=3725.5,
    segments=(
        Segment(0.0, 2.9996, "Cats & dogs --> <b>été</b>"),
        Segment(3661.04, 3725.5, "End."),
    ),
)


def _written(folder: Path, format_name: str) -> str:
    return write_transcript(TALK, folder, format_name).read_text(encoding="utf-8")


def test_text_has_a_line_for_each_segment(tmp_path: Path) -> None:
    assert _written(tmp_path, "txt") == "Cats & dogs --> <b>été</b>\nEnd.\n"


def test_subrip_numbers_its_cues_and_writes_commas(tmp_path: Path) -> None:
    assert _written(tmp_path, "srt") == (
        "1\n00:00:00,000 --> 00:00:03,000\nCats & dogs -> <b>été</b>\n\n"
        "2\n01:01:01,040 --> 01:02:05,500\nEnd.\n"
    )


def test_webvtt_escapes_markup_and_writes_points(tmp_path: Path) -> None:
    assert _written(tmp_path, "vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:03.000\nCats &amp; dogs --&gt; &lt;b&gt;été&lt;/b&gt;\n\n"
        "01:01:01.040 --> 01:02:05.500\nEnd.\n"
    )


def test_json_holds_everything(tmp_path: Path) -> None:
    plain = json.loads(_written(tmp_path, "json"))
    assert plain == json.loads(json.dumps(TALK.to_dict()))
    assert plain["segments"][1] == {"start_s": 3661.04, "end_s": 3725.5, "text": "End."}


@pytest.mark.parametrize(
    ("format_name", "content"), [("txt", ""), ("srt", ""), ("vtt", "WEBVTT\n")], ids=["txt", "srt", "vtt"]
)
def test_silence_gives_a_valid_file(tmp_path: Path, format_name: str, content: str) -> None:
    silence = Transcript("silence.wav", "", "en", 1.0)
    assert write_transcript(silence, tmp_path, format_name).read_text() == content


def test_the_file_is_named_after_the_recording_in_a_folder_made_for_it(tmp_path: Path) -> None:
    assert write_transcript(TALK, tmp_path / "new" / "folder", "srt").name == "talk.2.srt"
    assert write_transcript(TALK, tmp_path, "srt", name="other").name == "other.srt"


def test_recordings_of_one_name_do_not_overwrite_each_other() -> None:
    files = ["a/x.wav", "b/x.wav", "c/x-2.wav", "d/x.wav"]
    names = file_names([Path(file) for file in files])
    assert len(set(names)) == 4
    assert names[:2] == ["x", "x-2"]


def test_an_unknown_format_is_answered_with_the_nearest() -> None:
    with pytest.raises(EvaluationError, match="did you mean srt"):
        check_format("srtt")


def test_a_folder_that_cannot_be_written_is_an_error_of_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="cannot be written"):
        write_transcript(TALK, tmp_path / "file", "txt")


def test_the_folder_is_tried_before_the_work_and_left_clean(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="cannot be written"):
        check_folder(tmp_path / "file")
    check_folder(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
