"""Windows of long recordings: cut at timestamps, moved on without losing or repeating speech."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from whisper_peft.evaluation.generation import log_mel
from whisper_peft.evaluation.long_form import (
    SHORTEST_ADVANCE_S,
    cut_into_segments,
    quietest_feature,
)
from whisper_peft.model.loading import Whisper

BEGIN = 1000
"""Id of `<|0.00|>` in these tests; smaller ids are words."""


def _stamp(seconds: float) -> int:
    return BEGIN + round(seconds / 0.02)


def _cut(*tokens: int, window_s: float = 30.0) -> tuple[list[tuple[float, float, list[int]]], float]:
    segments, advance_s = cut_into_segments(tokens, timestamp_begin=BEGIN, window_s=window_s)
    words = [[token for token in segment.tokens if token < BEGIN] for segment in segments]
    times = [(round(segment.start_s, 2), round(segment.end_s, 2)) for segment in segments]
    return [(*time, text) for time, text in zip(times, words, strict=True)], round(advance_s, 2)


def test_a_segment_that_the_window_breaks_off_is_left_to_the_next_window() -> None:
    tokens = [_stamp(0), 1, 2, _stamp(4), _stamp(4.5), 3, _stamp(9), _stamp(9), 4]
    assert _cut(*tokens) == ([(0.0, 4.0, [1, 2]), (4.5, 9.0, [3])], 9.0)


def test_a_window_that_ends_in_silence_is_done_with() -> None:
    tokens = [_stamp(0), 1, _stamp(4), _stamp(4), 2, _stamp(9)]
    assert _cut(*tokens) == ([(0.0, 4.0, [1]), (4.0, 9.0, [2])], 30.0)


def test_a_window_of_one_segment_ends_where_its_timestamp_says() -> None:
    assert _cut(_stamp(0), 1, _stamp(7)) == ([(0.0, 7.0, [1])], 30.0)


def test_a_window_without_closing_timestamp_is_one_segment() -> None:
    assert _cut(_stamp(0), 1, 2, window_s=12.5) == ([(0.0, 12.5, [1, 2])], 12.5)


def test_nothing_generated_moves_on_by_the_window() -> None:
    assert _cut(window_s=12.5) == ([(0.0, 12.5, [])], 12.5)


def test_times_stay_within_a_short_window() -> None:
    assert _cut(_stamp(0), 1, _stamp(29), window_s=3.0) == ([(0.0, 3.0, [1])], 3.0)


@given(st.lists(st.integers(1, BEGIN + 1500), max_size=40), st.floats(0.5, 30))
def test_whatever_is_generated_windows_move_on_and_times_stay_inside(
    generated: list[int], window_s: float
) -> None:
    tokens = [BEGIN, *generated]
    segments, advance_s = cut_into_segments(tokens, timestamp_begin=BEGIN, window_s=window_s)
    assert SHORTEST_ADVANCE_S <= advance_s <= window_s
    assert all(0 <= time <= window_s for one in segments for time in (one.start_s, one.end_s))
    kept = [token for segment in segments for token in segment.tokens]
    assert kept == tokens[: len(kept)]


def test_windows_are_scaled_to_the_loudest_moment_of_the_recording(tiny_en: Whisper) -> None:
    """As in openai-whisper, which takes the log-mel of the whole recording before it cuts windows."""
    rng = np.random.default_rng(0)
    loud, quiet = (rng.normal(0, level, 30 * 16_000).astype(np.float32) for level in (0.3, 1e-5))
    recording = np.concatenate([loud, quiet])
    whole = tiny_en.companions.feature_extractor(
        recording, sampling_rate=16_000, truncation=False, return_tensors="pt"
    ).input_features
    ours = log_mel(tiny_en, [quiet], frames=3000).maximum(torch.tensor(quietest_feature(tiny_en, recording)))
    assert torch.allclose(ours[..., 2:-2], whole[..., 3002:-2], atol=1e-4)
