"""Rows of any table: stretches, segments, tasks, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from whisper_peft.data.sources.opening import Source, open_source
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Segment

SEGMENTS = [{"start": 0, "end": 1.5, "text": "One."}, {"start": 2, "end": 3, "text": " Two. "}]


def manifest(folder: Path, *rows: dict[str, Any]) -> Source:
    (folder / "speech.jsonl").write_text(
        "".join(json.dumps({"audio": "a.wav", **row}) + "\n" for row in rows)
    )
    return open_source(DataSection(source=folder / "speech.jsonl"), "all")


@pytest.mark.parametrize(
    ("times", "stretch"),
    [
        ({"start": 1.5, "end": 3}, (1.5, 3.0)),
        ({"start_s": "1.5", "end_s": "3"}, (1.5, 3.0)),
        ({"offset": 1.5, "duration": 1.5}, (1.5, 3.0)),
        ({"offset": 0, "duration": 1.5}, (0.0, 1.5)),
        ({"start": 1.5}, (1.5, None)),
        ({"end": 2}, (0.0, 2.0)),
        ({"duration": 1.5}, (0.0, None)),
        ({"start": None, "end": "", "duration": 3.0}, (0.0, None)),
    ],
)
def test_a_row_may_be_a_stretch_of_a_recording(
    tmp_path: Path, times: dict[str, Any], stretch: tuple[float, float | None]
) -> None:
    (row,) = manifest(tmp_path, {"text": "A", **times})
    assert (row.start_s, row.end_s) == stretch


def test_stretches_of_one_recording_have_ids_of_their_own(tmp_path: Path) -> None:
    source = manifest(tmp_path, *({"text": "A", "offset": n, "duration": 1} for n in range(3)))
    assert [row.id for row in source] == ["a@0", "a@1", "a@2"]
    assert "used twice" not in source.sentence


def test_segments_previous_text_and_task_belong_to_their_row(tmp_path: Path) -> None:
    rows = (
        {"text": "All.", "segments": SEGMENTS, "previous_text": "Before.", "task": "translate"},
        {"text": "B"},
    )
    first, second = manifest(tmp_path, *rows)
    assert first.segments == (Segment(0.0, 1.5, "One."), Segment(2.0, 3.0, "Two."))
    assert (first.text, first.previous_text, first.task) == ("All.", "Before.", "translate")
    assert (second.segments, second.previous_text, second.task) == ((), None, None)


def test_segments_alone_are_the_text(tmp_path: Path) -> None:
    (row,) = manifest(tmp_path, {"segments": SEGMENTS})
    assert row.text == "One. Two."


def test_segments_in_a_table_are_json(tmp_path: Path) -> None:
    (tmp_path / "speech.tsv").write_text(
        f"audio\ttext\tsegments\na.wav\tA\t{json.dumps(SEGMENTS)}\nb.wav\tB\t\n"
    )
    first, second = open_source(DataSection(source=tmp_path / "speech.tsv"), "all")
    assert (len(first.segments), second.segments) == (2, ())


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"start": 3, "end": 1}, "bad-times"),
        ({"start": -1, "end": 1}, "bad-times"),
        ({"start": "soon", "end": 1}, "bad-times"),
        ({"start": True, "end": 2}, "bad-times"),
        ({"offset": 1, "duration": 0}, "bad-times"),
        ({"offset": 1, "duration": 1e400}, "bad-times"),
        ({"offset": 1, "duration": 10**400}, "bad-times"),
        ({"task": "sing"}, "bad-task"),
        ({"segments": "One."}, "bad-segments"),
        ({"segments": "[" * 100_000}, "bad-segments"),
        ({"segments": ["One."]}, "bad-segments"),
        ({"segments": [{"start": 0, "text": "One."}]}, "bad-segments"),
        ({"segments": SEGMENTS[::-1]}, "bad-segments"),
        ({"start": 60, "end": 62, "segments": [{"start": 60, "end": 62, "text": "One."}]}, "bad-segments"),
    ],
)
def test_a_row_that_cannot_be_what_it_says_is_counted(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    source = manifest(tmp_path, {"text": "A", **row}, {"text": "Good."})
    assert [good.text for good in source] == ["Good."]
    assert source.skipped == {reason: 1}
    rows = [{"audio": "a.wav", "text": "A", **row}, {"audio": "a.wav", "text": "Good."}]
    in_memory = open_source(DataSection(source=rows), "all")
    assert [good.text for good in in_memory] == ["Good."]
    assert in_memory.skipped == {reason: 1}


def test_a_row_that_holds_its_recording_is_taken_whole(tmp_path: Path) -> None:
    rows = [{"audio": {"bytes": b"x", "path": None}, "text": "A", "start": 3.0, "end": 5.0, "task": "sing"}]
    rows.append({**rows[0], "task": "translate"})
    stored = datasets.Dataset.from_list(rows)
    stored.to_parquet(tmp_path / "speech.parquet")
    for source in (stored, tmp_path / "speech.parquet"):
        opened = open_source(DataSection(source=source), "all")
        (row,) = opened
        assert (row.start_s, row.end_s, row.task) == (0.0, None, "translate")
        assert opened.skipped == {"bad-task": 1}


def test_a_stretch_of_an_array_is_cut_out_of_it() -> None:
    array = {"array": np.zeros(32_000), "sampling_rate": 16_000}
    (row,) = open_source(DataSection(source=[{"audio": array, "text": "A", "start": 0.5, "end": 1.5}]), "all")
    assert (row.start_s, row.end_s) == (0.5, 1.5)
