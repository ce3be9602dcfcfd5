"""SpecAugment within the real length."""

import numpy as np
import pytest

from whisper_peft.data.effects.spectrogram_masks import draw_masks
from whisper_peft.recipe.sections import SpecAugment


def masks(real_frames=200, frames=3000, mels=80, seed=0, **settings):
    return draw_masks(mels, frames, real_frames, SpecAugment(p=1, **settings), np.random.default_rng(seed))


def test_padding_is_never_masked():
    for seed in range(200):
        assert masks(seed=seed, time_mask_share=1.0, frequency_mask_bins=80)[:, 200:].all()


def test_widths_follow_the_settings_and_reach_their_limits():
    times = [
        (~masks(seed=s, frequency_masks=0, time_masks=1, time_mask_share=0.1)[0]).sum() for s in range(300)
    ]
    bins = [
        (~masks(seed=s, time_masks=0, frequency_masks=1, frequency_mask_bins=5)[:, 0]).sum()
        for s in range(300)
    ]
    assert (min(times), max(times)) == (0, 20)
    assert (min(bins), max(bins)) == (0, 5)


def test_masks_are_whole_columns_and_rows():
    hidden = ~masks(frequency_masks=0, time_mask_share=0.2, seed=3)
    assert hidden.any()
    assert (hidden.all(axis=0) == hidden.any(axis=0)).all()
    hidden = ~masks(time_masks=0, frequency_mask_bins=30, seed=3)[:, :200]
    assert hidden.any()
    assert (hidden.all(axis=1) == hidden.any(axis=1)).all()


def test_every_frame_and_bin_can_be_masked():
    hit = np.zeros((80, 60), dtype=bool)
    for seed in range(400):
        hit |= ~masks(real_frames=60, frames=60, seed=seed, time_mask_share=0.2)
    assert hit.all()


def test_probability_is_kept():
    section = SpecAugment(p=0.3, time_masks=1, time_mask_share=1.0)
    changed = sum(not draw_masks(80, 500, 500, section, np.random.default_rng(s)).all() for s in range(1000))
    assert changed == pytest.approx(300, abs=50)


@pytest.mark.parametrize("real_frames", [0, 1, 2])
def test_hardly_any_frames_are_no_error(real_frames):
    assert masks(real_frames=real_frames, frequency_mask_bins=128, mels=80).shape == (80, 3000)
