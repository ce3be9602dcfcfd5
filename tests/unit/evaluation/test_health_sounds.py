"""Verdicts on what is written for sounds, long recordings and timestamps."""

from __future__ import annotations

import pytest

from tests.unit.evaluation.health_cases import (
    half_deaf,
    joined,
    pair,
    sounds,
    windows,
)
from whisper_peft.evaluation.health.sound_checks import (
    check_hallucination,
    check_long_form,
    check_timestamps,
)


def test_more_words_on_silence_are_named_by_kind():
    before = sounds("you", "you", "you", "you")
    invented = sounds(*["and then they went to the house"] * 4)
    found = check_hallucination(before, invented)
    assert found.verdict == "bad"
    assert [figure.name for figure in found.figures[2:]] == [
        f"words for each clip of {kind}" for kind in ("silence", "noise", "music")
    ]
    assert check_hallucination(before, before).verdict == "good"
    assert check_hallucination(invented, sounds("", "", "", "")).verdict == "good"


def test_words_that_the_silence_rule_no_longer_catches_are_named():
    caught, passed = sounds(*["you"] * 4, passes=False), sounds(*["you"] * 4)
    found = check_hallucination(caught, passed)
    assert (found.verdict, "silence rule" in found.why) == ("bad", True)
    assert check_hallucination(passed, caught).verdict == "good"


def test_recordings_that_fall_apart_are_bad_and_a_gain_missing_there_is_watched():
    assert check_long_form(joined(1), joined(4), None).verdict == "bad"
    assert check_long_form(joined(1), joined(1), None).verdict == "good"
    short = pair(before=half_deaf)
    behind = check_long_form(joined(2), joined(2), short)
    assert (behind.verdict, "gained much less" in behind.why) == ("watch", True)
    assert behind.figures[1].name == "WER of the same utterances alone"


def test_forgotten_and_displaced_timestamps_are_named():
    assert check_timestamps(windows(*[True] * 4), windows(*[False] * 4)).verdict == "bad"
    assert check_timestamps(windows(*[True] * 10), windows(*[True] * 10)).verdict == "good"
    late = check_timestamps(windows(*[True] * 4), windows(*[True] * 4, distance=2.0))
    assert (late.verdict, "further" in late.why) == ("bad", True)
    assert late.figures[0].unit == "seconds"
    assert late.figures[0].after == pytest.approx(2.0)
    silent = check_timestamps(windows(False, False), windows(False, False, stamps=0))
    assert (silent.verdict, "in which timestamps are written" in silent.why) == ("bad", True)
    assert check_timestamps(windows(False, False), windows(False, False)).verdict == "watch"
    a_little_less = windows(False, False, expected=(0.79, 0.21))
    assert check_timestamps(windows(False, False), a_little_less).verdict == "watch"


def test_two_windows_tell_whether_timestamps_are_still_expected():
    one = windows(True, False)
    unlearned = check_timestamps(one, windows(False, False, expected=(0.1, 0.2)))
    assert (unlearned.verdict, "less likely where utterances end" in unlearned.why) == ("bad", True)
    assert unlearned.figures[0].after == pytest.approx(0.1)
    late = check_timestamps(one, windows(True, False, expected=(0.8, 2.2)))
    assert (late.verdict, "the likely timestamps lie further" in late.why) == ("bad", True)
    assert (late.figures[0].unit, late.figures[0].after) == ("seconds", pytest.approx(2.2))
    assert check_timestamps(one, one).why.startswith("timestamps are written at least as well as before")
