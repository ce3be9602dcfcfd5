"""Subtitles as they are found: with marks, carriage returns, markup, overlaps and mistakes."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_peft.data.sources.subtitles import read_subtitles
from whisper_peft.types import Segment

SRT = "1\n00:00:01,000 --> 00:00:02,500\nHello\nthere.\n\n2\n01:00:03,000 --> 01:00:04,000\nBye.\n"
READ = (Segment(1.0, 2.5, "Hello there."), Segment(3603.0, 3604.0, "Bye."))


def read(text: str) -> tuple[tuple[Segment, ...], dict[str, int]]:
    skipped: Counter[str] = Counter()
    return read_subtitles(text.encode(), skipped), dict(skipped)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_marks_and_line_ends_make_no_difference(encoding: str, end: str) -> None:
    assert read_subtitles(SRT.replace("\n", end).encode(encoding), Counter()) == READ


@pytest.mark.parametrize(
    "text",
    [
        SRT.replace("\n\n2", "\n2"),
        SRT.replace("1\n00", "00").replace("\n2\n", "\n"),
        SRT.replace("Hello\n", "Hello\n\n"),
        SRT.replace(",", "."),
        SRT.replace(",000", "").replace(",500", ",5"),
        SRT.replace("02,500", "02,500 X1:40 X2:600 Y1:20 Y2:50"),
        SRT.replace("Hello", r"{\an8}<font color='red'>Hello</font>").replace("Bye.", "<b>Bye.</b>"),
    ],
    ids=["no blank line", "no numbers", "blank line in text", "points", "few digits", "settings", "markup"],
)
def test_subrip_is_read_as_it_is_written_by_many_programs(text: str) -> None:
    assert read(text) == (READ, {})


def test_webvtt_notes_styles_names_and_settings_are_no_text() -> None:
    text = (
        "WEBVTT - A talk\nKind: captions\n\nSTYLE\n::cue { color: red }\n\nNOTE not said\nnor this\n\n"
        "intro\n00:01.000 --> 00:02.500 align:start position:0%\n<v Ann>Hello <c.loud>there</c>.</v>\n\n"
        "NOTE\nno\n\n01:00:03.000 --> 01:00:04.000\nBye&nbsp;&amp; R&D &lt;3.\n"
    )
    assert read(text) == ((READ[0], Segment(3603.0, 3604.0, "Bye & R&D <3.")), {})


def test_what_is_less_than_or_an_ampersand_stays() -> None:
    assert read("00:00:01,000 --> 00:00:02,000\na < b & c > d\n")[0][0].text == "a < b & c > d"


def test_a_number_that_is_said_is_kept() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\n42\n\n2\n00:00:03,000 --> 00:00:04,000\n7\n"
    assert [cue.text for cue in read(text)[0]] == ["42", "7"]


def test_cues_that_cannot_be_read_are_counted_and_give_no_text_to_others() -> None:
    text = SRT + "\n3\n00:00:xx --> 00:00:09,000\nLost.\n\n4\n00:00:09,000 --> 00:00:08,000\nBack.\n"
    assert read(text) == (READ, {"malformed-cue": 1, "bad-times": 1})


def test_cues_out_of_order_are_put_in_order() -> None:
    first, second = SRT.split("\n\n")
    assert read(f"{second}\n\n{first}") == (READ, {})


def cue(start: str, end: str, text: str) -> str:
    return f"00:00:{start} --> 00:00:{end}\n{text}\n\n"


def test_cues_that_overlap_by_a_moment_follow_each_other() -> None:
    text = cue("01,000", "03,100", "One.") + cue("03,000", "05,000", "Two.")
    assert read(text)[0] == (Segment(1.0, 3.0, "One."), Segment(3.0, 5.0, "Two."))


def test_cues_of_two_people_at_once_become_one() -> None:
    text = (
        cue("01,000", "04,000", "One.") + cue("02,000", "03,000", "Two.") + cue("06,000", "07,000", "Three.")
    )
    assert read(text)[0] == (Segment(1.0, 4.0, "One. Two."), Segment(6.0, 7.0, "Three."))


def test_a_cue_shown_twice_is_said_once() -> None:
    text = cue("01,000", "04,000", "One.") + cue("01,000", "04,000", "One.")
    assert read(text)[0] == (Segment(1.0, 4.0, "One."),)


def test_rolling_captions_are_read_once() -> None:
    text = (
        "WEBVTT\n\n"
        "00:00:00.500 --> 00:00:02.500\n \nso<00:00:00.900><c> here</c><00:00:01.300><c> we</c>\n\n"
        "00:00:02.500 --> 00:00:02.510\nso here we\n \n\n"
        "00:00:02.510 --> 00:00:05.000\nso here we\ngo<00:00:03.000><c> again</c>\n\n"
        "00:00:05.000 --> 00:00:05.010\ngo again\n \n\n"
    )
    assert [cue.text for cue in read(text)[0]] == ["so here we", "go again"]


times = st.integers(0, 200_000)


@given(st.lists(st.tuples(times, times, st.text("ab &<>\n0", max_size=8)), max_size=12), st.booleans())
def test_whatever_the_cues_they_come_out_in_order_without_overlap(
    cues: list[tuple[int, int, str]], is_vtt: bool
) -> None:
    def clock(ms: int) -> str:
        return f"{ms // 60000:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"

    text = "".join(f"{clock(start)} --> {clock(end)}\n{said}\n\n" for start, end, said in cues)
    segments, skipped = read(("WEBVTT\n\n" if is_vtt else "") + text)
    assert all(before.end_s <= after.start_s for before, after in pairwise(segments))
    assert all(segment.start_s < segment.end_s and segment.text for segment in segments)
    assert sum(skipped.values()) == sum(end <= start for start, end, _ in cues)


@given(st.binary(max_size=200))
def test_bytes_are_cues_or_no_text(content: bytes) -> None:
    try:
        read_subtitles(content, Counter())
    except UnicodeDecodeError:
        return
