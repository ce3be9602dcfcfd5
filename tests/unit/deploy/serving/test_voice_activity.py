from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_peft.deploy.serving.voice_activity import cut_at_pauses

RATE = 16_000


@pytest.fixture(scope="module")
def speech(prompts_en: list[dict[str, Any]]) -> list[np.ndarray]:
    return [soundfile.read(Path(row["file_name"]), dtype="float32")[0] for row in prompts_en[:20]]


def talk(speech: list[np.ndarray], pause_s: float, noise: float) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return sentences with pauses between them, and where each lies."""
    parts, places, at = [], [], 0
    for sound in speech:
        places.append((at, at + len(sound)))
        parts += [sound, np.zeros(int(pause_s * RATE), np.float32)]
        at += len(sound) + int(pause_s * RATE)
    whole = np.concatenate(parts)
    return whole + noise * np.random.default_rng(0).standard_normal(len(whole)).astype(np.float32), places


@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_no_sentence_is_cut_where_there_are_pauses(speech: list[np.ndarray], noise: float) -> None:
    whole, places = talk(speech, 1.0, noise)
    stretches = cut_at_pauses(whole)
    assert len(stretches) > 2
    for first, last in places:
        inside = [one for one in stretches if one.start <= first + RATE // 4 and last - RATE // 4 <= one.stop]
        assert len(inside) == 1


def test_what_fits_into_a_window_is_left_whole() -> None:
    assert [(one.start, one.stop) for one in cut_at_pauses(np.zeros(30 * RATE, np.float32))] == [
        (0, 30 * RATE)
    ]


def test_a_long_recording_in_which_nobody_speaks_is_not_heard() -> None:
    assert cut_at_pauses(np.zeros(95 * RATE, np.float32)) == []


def test_speech_without_a_pause_is_cut_all_the_same() -> None:
    hum = 0.1 * np.sin(np.arange(100 * RATE) / 9).astype(np.float32)
    stretches = cut_at_pauses(hum)
    assert stretches[0].start == 0
    assert stretches[-1].stop == len(hum)
    assert all(before.stop == after.start for before, after in pairwise(stretches))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0.05, 25.0), st.booleans()), min_size=1, max_size=12))
def test_windows_fit_do_not_overlap_and_hold_everything_loud(parts: list[tuple[float, bool]]) -> None:
    rng = np.random.default_rng(0)
    level = np.concatenate([np.full(int(seconds * RATE), 0.2 * loud, np.float32) for seconds, loud in parts])
    waveform = level * rng.standard_normal(len(level)).astype(np.float32)
    stretches = cut_at_pauses(waveform)
    assert all(0 <= one.start < one.stop <= len(waveform) for one in stretches)
    assert all(one.stop - one.start <= 30 * RATE for one in stretches)
    assert all(before.stop <= after.start for before, after in pairwise(stretches))
    heard = np.zeros(len(waveform), bool)
    for one in stretches:
        heard[one.start : one.stop] = True
    # frames on the edge of speech may lie under the threshold
    assert not level.any() or heard[level > 0].mean() > 0.99
