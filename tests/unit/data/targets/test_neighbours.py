"""Neighbours: known from the source alone, joined in order, none lost, with their pauses and their times."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_peft.data.targets.neighbours import follows, join_neighbours, with_previous_text
from whisper_peft.types import Segment, Utterance


def read(number, chapter="19-198", seconds=8.0, **fields):
    return Utterance(
        f"{chapter}-{number:04d}",
        b"",
        f"WORDS {number}",
        speaker_id=chapter.split("-")[0],
        duration_s=seconds,
        **fields,
    )


def stretch(start_s, end_s, file="talk.wav", **fields):
    text = f"from {start_s:g}"
    return Utterance(
        text, Path(file), text, start_s=start_s, end_s=end_s, duration_s=end_s - start_s, **fields
    )


def join(rows, share=1.0, seed=0, **settings):
    return join_neighbours(rows, np.random.default_rng(seed), share=share, **settings)


@pytest.mark.parametrize(
    ("before", "after", "known"),
    [
        (read(0), read(1), True),
        (read(0), read(2), False),
        (read(1), read(0), False),
        (read(0), read(1, chapter="19-227"), False),
        (read(0, language="en"), read(1, language="fr"), False),
        (read(0, task="transcribe"), read(1, task="translate"), False),
        (Utterance("clip-0001", b"", ""), Utterance("clip-0002", b"", ""), False),
        (Utterance("19-198-0001", b"", ""), Utterance("19-198-0002", b"", ""), False),
        (stretch(0, 4), stretch(4.5, 9), True),
        (stretch(0, 4), stretch(7, 9), False),
        (stretch(0, 4), stretch(3, 9), False),
        (stretch(0, 4), stretch(4, 9, file="other.wav"), False),
        (stretch(0, 4), read(1), False),
    ],
)
def test_neighbours_are_those_the_source_tells(before, after, known):
    assert follows(before, after) is known


def test_a_mixture_keeps_the_ids_of_librispeech_readable():
    named = [Utterance(f"libri/19-198-000{n}", b"", "", speaker_id="19", source="libri") for n in range(2)]
    assert follows(*named)


def test_previous_text_is_that_of_the_row_before_where_nothing_else_is_known():
    rows = [read(0), read(1), read(3), read(4, previous_text="TOLD")]
    assert [row.previous_text for row in with_previous_text(rows)] == [None, "WORDS 0", None, "TOLD"]


def test_the_times_of_the_text_before_are_those_of_its_row():
    said = (Segment(0.5, 2.0, "WORDS"), Segment(2.5, 3.0, "0"))
    rows = [read(0, segments=said), read(1), read(2, seconds=None), read(3), read(4, previous_text="TOLD")]
    before = [row.previous_segments for row in with_previous_text(rows)]
    assert before == [(), said, (Segment(0.0, 8.0, "WORDS 1"),), (), ()]


def test_sources_that_come_in_turn_keep_their_own_previous_text():
    rows = [row for n in range(3) for row in (read(n, source="a"), read(n, chapter="7-1", source="b"))]
    told = [row.previous_text for row in with_previous_text(rows)]
    assert told == [None, None, "WORDS 0", "WORDS 0", "WORDS 1", "WORDS 1"]


@given(
    order=st.permutations(range(20)),
    share=st.sampled_from([0.0, 0.4, 1.0]),
    seed=st.integers(0, 5),
    longest_stretch=st.sampled_from([1.0, 1.25]),
)
def test_every_row_is_in_one_window_of_neighbours_in_order_or_left(order, share, seed, longest_stretch):
    rows = [read(n, seconds=2 + n % 9) for n in order]
    windows, left = join(rows, share, seed, longest_stretch=longest_stretch)
    joined = [row.id for window in windows for row in window]
    assert sorted([*joined, *(row.id for row in left)]) == sorted(row.id for row in rows)
    for window in windows:
        assert len(window) > 1
        assert all(follows(*pair) for pair in itertools.pairwise(window))
        assert sum(row.duration_s for row in window) * longest_stretch <= 30
    if share == 0:
        assert not windows


def test_windows_begin_elsewhere_in_another_epoch():
    rows = [read(n) for n in range(40)]
    starts = [{window[0].id for window in join(rows, seed=seed)[0]} for seed in range(2)]
    assert starts[0] != starts[1]


def test_a_row_that_comes_twice_is_not_lost():
    windows, left = join([read(0), read(0), read(1)])
    assert sum(map(len, windows)) + len(left) == 3


def test_stretches_of_a_recording_take_the_pause_along_and_say_when_they_end():
    rows = [stretch(0, 4), stretch(4.5, 9), stretch(10, 12)]
    windows, _ = join(rows, seed=1)
    ((first, second, third),) = windows
    assert (first.start_s, first.end_s, first.duration_s) == (0, 4.5, 4.5)
    assert first.segments == (Segment(0.0, 4.0, "from 0"),)
    assert (second.end_s, second.segments) == (10, (Segment(0.0, 4.5, "from 4.5"),))
    assert third == rows[2]


def test_pauses_count_in_the_thirty_seconds():
    rows = [stretch(start, start + 4) for start in np.arange(0, 60, 6.0)]
    for seed in range(4):
        windows, _ = join(rows, seed=seed)
        assert max(window[-1].end_s - window[0].start_s for window in windows) <= 30
