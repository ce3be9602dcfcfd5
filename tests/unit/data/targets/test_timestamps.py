"""Times of text: moved with the speech, in order, on the grid of 20 ms."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_peft.data.targets.timestamps import LAST_TIMESTAMP, Placed, on_grid, place, stretched, timed_text
from whisper_peft.types import Segment, Utterance

SAID = (Segment(0.1, 0.9, "ONE TWO"), Segment(1.5, 2.0, "THREE"))


def placed(text="ONE TWO THREE", segments=SAID, start_s=10.0, end_s=12.5):
    return Placed(Utterance("a", b"", text, segments=segments), start_s, end_s)


def test_each_of_several_utterances_keeps_its_own_times():
    rows = [Utterance(name, b"", name) for name in "abc"]
    assert [(one.start_s, one.end_s) for one in place(rows, [1.0, 2.5, 0.5])] == [(0, 1), (1, 3.5), (3.5, 4)]


def test_segments_move_with_the_utterance_and_are_cased_as_the_text_is():
    assert timed_text(placed(), "One two three") == [
        Segment(pytest.approx(10.1), pytest.approx(10.9), "One two"),
        Segment(11.5, 12.0, "three"),
    ]


def test_without_segments_the_whole_utterance_is_one():
    assert timed_text(placed(segments=()), "One two three") == [Segment(10.0, 12.5, "One two three")]


def test_segments_with_other_words_than_the_text_are_not_learned():
    assert timed_text(placed("ONE TWO"), "One two") == [Segment(10.0, 12.5, "One two")]


def test_segments_of_a_script_without_spaces_are_its_pieces():
    said = (Segment(0.0, 1.0, "你好"), Segment(1.0, 2.0, "世界"))
    assert [one.text for one in timed_text(placed("你好世界", said), "你好世界")] == ["你好", "世界"]


def test_a_segment_ends_with_its_utterance_at_the_latest():
    late = (Segment(0.0, 99.0, "ONE TWO THREE"),)
    assert timed_text(placed(segments=late), "ONE TWO THREE")[0].end_s == 12.5


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_stretched_speech_takes_its_segments_along(factor):
    told = replace(placed().utterance, previous_segments=SAID)
    for moved in (stretched(told, factor).segments, stretched(told, factor).previous_segments):
        assert [(one.start_s, one.end_s) for one in moved] == [
            (pytest.approx(factor * one.start_s), pytest.approx(factor * one.end_s)) for one in SAID
        ]


@given(st.lists(st.tuples(st.floats(-1, 40), st.floats(-1, 40)), max_size=30))
def test_timestamps_never_go_back_nor_leave_the_window(times):
    steps = [
        step for start, end, _ in on_grid([Segment(*pair, "a") for pair in times]) for step in (start, end)
    ]
    assert steps == sorted(steps)
    assert all(0 <= step <= LAST_TIMESTAMP for step in steps)


@given(st.floats(0, 29.9), st.floats(0.02, 30))
def test_times_are_rounded_to_the_nearest_step(start_s, length_s):
    end_s = min(start_s + length_s, 30.0)
    ((start, end, _),) = on_grid([Segment(start_s, end_s, "a")])
    assert abs(start * 0.02 - start_s) <= 0.0100001
    assert abs(end * 0.02 - end_s) <= 0.0200001
    assert end > start
