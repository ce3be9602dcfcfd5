"""Long recordings are cut where their subtitles allow it."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from whisper_peft.data.checking import check_rows
from whisper_peft.data.sources.kinds import kind_at
from whisper_peft.data.sources.opening import Source, open_source
from whisper_peft.data.sources.subtitled import cut_windows
from whisper_peft.data.targets.neighbours import LONGEST_PAUSE_S
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Segment

RATE = 8_000


def clock(seconds: float) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{milliseconds:03d}"


def talk(folder: Path, seconds: float, *cues: tuple[float, float], name: str = "talk") -> Path:
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(-999, 999, round(seconds * RATE)).astype(np.int16)
    soundfile.write(folder / f"{name}.wav", noise, RATE)
    lines = [f"{clock(start)} --> {clock(end)}\nCue {n}.\n" for n, (start, end) in enumerate(cues)]
    (folder / f"{name}.srt").write_text("\n".join(lines))
    return folder


def every(folder: Path) -> Source:
    return open_source(DataSection(source=folder), "all")


def times(rows: Source) -> list[tuple[str, float, float | None]]:
    return [(row.text, row.start_s, row.end_s) for row in rows]


def test_windows_hold_whole_cues_and_the_text_before_them(tmp_path: Path) -> None:
    rows = list(every(talk(tmp_path, 70, (1, 11), (12, 22), (22.5, 32), (33, 40), (50, 60))))
    assert [row.text for row in rows] == ["Cue 0. Cue 1.", "Cue 2. Cue 3.", "Cue 4."]
    assert [(row.start_s, row.end_s) for row in rows] == [(0.8, 22.2), (22.3, 40.2), (49.8, 60.2)]
    assert rows[0].segments == (Segment(0.2, 10.2, "Cue 0."), Segment(11.2, 21.2, "Cue 1."))
    assert [row.previous_text for row in rows] == [None, "Cue 0. Cue 1.", "Cue 2. Cue 3."]
    assert [row.previous_segments for row in rows[1:]] == [row.segments for row in rows[:-1]]
    assert len({row.id for row in rows}) == 3


def test_margins_end_half_way_to_the_next_cue_and_at_the_recordings_ends(tmp_path: Path) -> None:
    source = every(talk(tmp_path, 59.9, (0, 29.9), (30, 59.9)))
    assert times(source) == [("Cue 0.", 0.0, 29.95), ("Cue 1.", 29.95, 59.9)]
    source = every(talk(tmp_path / "shorter", 60, (10, 30), (30.1, 50)))
    assert times(source) == [("Cue 0.", 9.8, 30.05), ("Cue 1.", 30.05, 50.2)]


def test_a_window_is_never_longer_than_thirty_seconds(tmp_path: Path) -> None:
    source = every(talk(tmp_path, 100, (10, 25), (25, 40), (50, 80)))
    assert times(source) == [("Cue 0. Cue 1.", 10.0, 40.0), ("Cue 2.", 50.0, 80.0)]
    shorter = DataSection(source=tmp_path, max_duration_s=20)
    assert times(open_source(shorter, "all")) == [("Cue 0.", 9.8, 25.0), ("Cue 1.", 25.0, 40.2)]
    assert open_source(shorter, "all").count == 2


def test_cues_too_long_or_outside_are_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    cues = ((1, 2), (3, 35), (36, 38), (58, 58.5), (59, 60.4), (61, 62), (62, 63))
    source = every(talk(tmp_path, 60, *cues))
    assert times(source) == [("Cue 0.", 0.8, 2.2), ("Cue 2.", 35.8, 38.2), ("Cue 3. Cue 4.", 57.8, 60.0)]
    assert [row.previous_text for row in source] == [None, "Cue 1.", "Cue 2."]
    assert source.skipped == {"cue-too-long": 1, "bad-times": 2}


def test_a_cue_that_goes_on_after_the_recording_is_counted(tmp_path: Path) -> None:
    source = every(talk(tmp_path, 60, (50, 51), (59, 61)))
    assert times(source) == [("Cue 0.", 49.8, 51.2)]
    assert source.skipped == {"bad-times": 1}


def test_all_windows_can_be_learned_from(tmp_path: Path) -> None:
    section = DataSection(source=talk(tmp_path, 95, (0, 30), (30, 60), (60, 90), (90, 95.3)))
    check = check_rows(open_source(section, "all"), section=section, label_length=lambda row: 1)
    assert (len(check.kept), check.skipped) == (4, {})
    assert [row.duration_s for row in check.kept] == [30, 30, 30, 5]


def test_the_language_stands_in_the_name_of_the_subtitles(tmp_path: Path) -> None:
    talk(tmp_path, 5, (1, 2))
    (tmp_path / "talk.srt").rename(tmp_path / "talk.pt-BR.srt")
    assert [row.language for row in every(tmp_path)] == ["pt-BR"]
    (tmp_path / "talk.fr.srt").write_text("")
    source = every(tmp_path)
    assert not list(source)
    assert source.skipped == {"several-subtitles": 1}
    assert [row.language for row in open_source(DataSection(source=tmp_path / "talk.pt-BR.srt"), "all")] == [
        "pt-BR"
    ]


def test_a_recording_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    talk(tmp_path, 5, (1, 2))
    for name in ("damaged", "alone", "latin"):
        talk(tmp_path, 5, (1, 2), name=name)
    (tmp_path / "damaged.wav").write_bytes(b"RIFF and nothing else")
    (tmp_path / "alone.srt").unlink()
    (tmp_path / "latin.srt").write_bytes("00:00:01,000 --> 00:00:02,000\nCafé\n".encode("latin-1"))
    source = every(tmp_path)
    assert [row.id for row in source] == ["talk@0.800"]
    assert source.skipped == {"unreadable": 1, "no-subtitles": 1, "not-utf8": 1}


@pytest.mark.parametrize("name", ["talk.wav", "talk.srt"])
def test_a_recording_or_its_subtitles_stand_for_the_two(tmp_path: Path, name: str) -> None:
    talk(tmp_path, 5, (1, 2))
    talk(tmp_path, 5, (1, 2), name="other")
    assert kind_at(tmp_path / name).name == "subtitled"
    assert [row.id for row in every(tmp_path / name)] == ["talk@0.800"]


lengths = st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 40_000)), max_size=30)


@given(lengths)
def test_every_cue_is_in_one_window_in_order(parts: list[tuple[int, int]]) -> None:
    cues, now = [], 0.0
    for number, (gap, length) in enumerate(parts):
        start = now + gap / 1000
        now = start + length / 1000
        cues.append(Segment(start, now, str(number)))
    windows = list(cut_windows(cues, 30.0))
    assert [cue for window in windows for cue in window] == cues
    for window in windows:
        assert len(window) == 1 or window[-1].end_s - window[0].start_s <= 30
        assert all(after.start_s - before.end_s <= LONGEST_PAUSE_S for before, after in pairwise(window))
