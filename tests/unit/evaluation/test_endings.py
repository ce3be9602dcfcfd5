"""Rows that repeat themselves are stopped; speech, however repetitive, is not."""

from __future__ import annotations

import dataclasses
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from whisper_peft.data.audio.decoding import decode
from whisper_peft.evaluation.endings import (
    CHECK_EVERY,
    REPETITIONS,
    RowLimits,
    longest_repetition,
    repeats_itself,
)
from whisper_peft.evaluation.generation import generate, token_cap
from whisper_peft.model.loading import Whisper
from whisper_peft.types import Utterance

END = 50256


def _first_stop(tokens: list[int], duration_s: float) -> int | None:
    limits = RowLimits(token_cap(duration_s), longest_repetition(duration_s))
    said = (number for number in range(1, len(tokens) + 1) if limits.are_reached(tokens[:number], end=END))
    return next(said, None)


@pytest.mark.parametrize("period", [1, 2, 7, 10])
def test_a_loop_is_stopped_long_before_its_cap(period: int) -> None:
    loop = [*range(100, 105), *list(range(period)) * 200]
    stopped = _first_stop(loop, 3.0)
    assert stopped is not None
    assert stopped <= 5 + longest_repetition(3.0) + CHECK_EVERY < token_cap(3.0) / 3


def test_a_loop_in_a_full_window_is_stopped_too() -> None:
    assert _first_stop([*range(50), *list(range(12)) * 60], 30.0) == 312


def test_timestamps_that_advance_do_not_hide_a_loop() -> None:
    segment = [[END + 2 + number, 7, 8, 9, END + 3 + number] for number in range(60)]
    assert _first_stop([token for one in segment for token in one], 3.0) is not None


def test_a_repetition_that_fits_in_its_time_is_speech() -> None:
    """Somebody who says no, no, no for half a minute, four times a second, is written down whole."""
    assert _first_stop([5, 6] * 120, 30.0) is None
    assert _first_stop([7] * (longest_repetition(4.0) - 1) + [8], 4.0) is None


def test_fewer_repetitions_than_a_loop_has_are_speech() -> None:
    sentence = list(range(20))
    assert not repeats_itself(sentence * (REPETITIONS - 1), longest=60)
    assert repeats_itself(sentence * REPETITIONS, longest=80)


def test_no_reference_at_hand_would_be_stopped(
    tiny_en: Whisper, prompts_en: list[dict[str, Any]], prompts_fr: list[dict[str, Any]]
) -> None:
    for row in [*prompts_en, *prompts_fr]:
        assert _first_stop(tiny_en.tokenizer(row["text"]).input_ids[:-1], row["duration_s"]) is None


def test_a_looping_row_is_marked_and_keeps_what_it_wrote(
    tiny_en: Whisper, prompts_en: list[dict[str, Any]]
) -> None:
    """A model that cannot end goes on with what it said last."""
    config = deepcopy(tiny_en.generation_config)
    config.suppress_tokens = [*(config.suppress_tokens or ()), END]
    companions = dataclasses.replace(tiny_en.companions, generation_config=config)
    endless = dataclasses.replace(tiny_en, companions=companions)
    row = min(prompts_en, key=lambda row: row["duration_s"])
    waveform = decode(Utterance("clip", Path(row["file_name"]), "")).waveform
    for num_beams in (1, 2):
        found = generate(endless, [waveform], language=None, num_beams=num_beams)[0]
        assert found.looping
        assert len(found.tokens) < token_cap(row["duration_s"])
        assert repeats_itself(found.tokens, longest=longest_repetition(row["duration_s"]))
