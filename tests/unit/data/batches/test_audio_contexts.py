"""The audio context of a window: what it lasts, and now and then all of Whisper's."""

import numpy as np
import pytest

from whisper_peft.data.batches.audio_contexts import AudioContexts, context_frames
from whisper_peft.recipe.sections import TrainSection


def contexts(**fields):
    return AudioContexts.of(TrainSection(**fields), seed=3)


def drawn(made, real_frames=431, epoch=0):
    return np.array([made.frames(str(n), epoch=epoch, real_frames=real_frames) for n in range(2000)])


@pytest.mark.parametrize(("real_frames", "frames"), [(3, 100), (431, 432), (2999, 3000), (3000, 3000)])
def test_a_cut_context_is_the_next_even_number_of_frames(real_frames, frames):
    assert contexts().frames("a", epoch=0, real_frames=real_frames) == frames


@pytest.mark.parametrize("mode", ["full", "packed"])
def test_full_and_packed_windows_are_whispers(mode):
    assert set(drawn(contexts(audio_context=mode))) == {3000}


def test_a_share_of_the_utterances_hears_the_whole_window():
    assert np.mean(drawn(contexts(full_context_share=0.2)) == 3000) == pytest.approx(0.2, abs=0.03)


def test_padding_is_drawn_evenly_up_to_its_longest():
    extra = drawn(contexts(context_padding_s=2.0)) - 431
    assert 0 <= extra.min() < 5
    assert 195 < extra.max() <= 201
    assert extra.mean() == pytest.approx(100, abs=6)


def test_draws_are_of_utterance_and_epoch():
    made = contexts(context_padding_s=2.0)
    assert (drawn(made) == drawn(made)).all()
    assert (drawn(made) != drawn(made, epoch=1)).mean() > 0.9


def test_an_evaluation_context_is_whole_half_seconds_of_at_most_the_window():
    assert [context_frames(second) for second in (0.2, 1.01, 29.9, 30.0)] == [100, 150, 3000, 3000]
