import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from whisper_peft.data.survey.clips import encode_clip
from whisper_peft.data.survey.findings import (
    AudioFigures,
    Inspection,
    LabelFigures,
    Leak,
    ListeningFigures,
    Reason,
    SplitFigures,
    Suspect,
    TextFigures,
)
from whisper_peft.data.survey.sketches import Sketch
from whisper_peft.reporting.console.findings_text import inspection_text, verdict
from whisper_peft.reporting.pages.inspection_page import render_inspection, suspects_csv, write_inspection


def distribution(*values):
    sketch = Sketch(0.01, is_log=True)
    for value in values:
        sketch.add(value)
    return sketch.summary()


SECONDS = distribution(1.0, 2.0, 2.5, 9.0)

NOISY = Suspect("a", "train", "/speech/a.wav", "Yes.", (Reason("noisy", "SNR about 3 dB"),), duration_s=2.0)
MISSING = Suspect("b", "test", "/speech/b.wav", "No.", (Reason("missing", "the recording cannot be used"),))

FOUND = Inspection(
    source="speech",
    what="speech is a manifest; splits: test, train",
    command="whisper-peft finetune lora-librispeech --data.source speech",
    rows=5,
    rows_there=5,
    decoded=4,
    splits=(SplitFigures("test", 2, 1, 0.5, None), SplitFigures("train", 3, 3, 1.5, 2, ("en",))),
    audio=AudioFigures(
        SECONDS, SECONDS, {"WAV PCM_16": 4}, {"16000": 4}, {"1": 4}, 0, SECONDS, SECONDS, SECONDS
    ),
    text=TextFigures("mixed case, with punctuation", 1.0, 0.0, {"LATIN": 1.0}, {}, 0),
    labels=LabelFigures("tiny.en", SECONDS, 0),
    leaks=(Leak("speaker", "test", "train", 1, 1.0),),
    refused={"missing": 1},
    concerns={"noisy": 1},
    suspects=(MISSING, NOISY),
    listening=ListeningFigures("tiny.en", 4, SECONDS),
    notes=("at most 5 rows of each split were looked at",),
)


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_needs_nothing_from_elsewhere():
    page = render_inspection(FOUND, {("train", "a"): encode_clip(np.zeros(1600, np.float32))})
    linked = [
        value for _, attrs in Tags(page).found for name, value in attrs.items() if name in ("src", "href")
    ]
    assert linked
    assert all(link.startswith("data:audio/flac;base64,") for link in linked)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in Tags(page).found}


def test_rows_that_can_be_played_come_before_the_others():
    page = render_inspection(FOUND, {("train", "a"): encode_clip(np.zeros(1600, np.float32))})
    assert page.count("<audio") == 1
    assert page.index("train/a") < page.index("test/b")


def test_text_from_a_corpus_stays_text():
    hostile = '<script>alert("x")</script> & "quotes"'
    suspect = replace(NOISY, id=hostile, text=hostile, heard=hostile, reasons=(Reason("noisy", hostile),))
    page = render_inspection(replace(FOUND, source=hostile, what=hostile, suspects=(suspect,)), {})
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5


def test_every_number_of_the_terminal_is_on_the_page_too():
    page = re.sub(r"<[^>]+>", "", render_inspection(FOUND, {}))
    for number in re.findall(r"\d+\.\d+", inspection_text(FOUND)):
        assert number in page


def test_what_to_drop_and_what_to_check_is_said():
    assert verdict(FOUND) == "Of 5 rows, 1 are better dropped and 1 worth a look."
    assert "Nothing stands out" in verdict(replace(FOUND, suspects=()))


@pytest.mark.parametrize("without", [{"labels": None}, {"listening": None}, {"decoded": 0, "command": None}])
def test_what_was_not_measured_is_left_out(without):
    found = replace(FOUND, **without)
    assert "None" not in inspection_text(found)
    assert "None" not in re.sub(r"<[^>]+>", "", render_inspection(found, {}))


def test_a_corpus_without_a_usable_row_has_a_page():
    empty = AudioFigures(None, None, {}, {}, {}, 0)
    found = replace(FOUND, audio=empty, labels=None, listening=None, decoded=0)
    assert "<figure" not in render_inspection(found, {})
    assert "durations" in inspection_text(found)


def test_the_csv_keeps_any_text_and_has_room_for_a_correction():
    text = 'line one\nline two, "quoted"\t🎧'
    (row,) = csv.DictReader(io.StringIO(suspects_csv((replace(NOISY, text=text),))))
    assert row["text"] == text
    assert row["corrected_text"] == ""


def test_all_three_files_are_written_and_the_json_is_what_was_found(tmp_path):
    write_inspection(FOUND, {}, tmp_path / "new" / "folder")
    written = {file.name for file in (tmp_path / "new" / "folder").iterdir()}
    assert written == {"inspection.html", "inspection.json", "suspicious.csv"}
    plain = json.loads((tmp_path / "new" / "folder" / "inspection.json").read_text(encoding="utf-8"))
    assert plain == json.loads(json.dumps(FOUND.to_dict()))
    assert plain["hours"] == 2.0
