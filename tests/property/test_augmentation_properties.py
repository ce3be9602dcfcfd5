"""Laws of the effects, over any speech and any setting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_peft.data.effects.augmentation import build_augmentation
from whisper_peft.data.effects.spectrogram_masks import draw_masks
from whisper_peft.data.effects.telephone import CODECS
from whisper_peft.data.effects.waveform_effects import add_noise, change_speed, draw_stretch, reverberate
from whisper_peft.data.randomness import utterance_rng
from whisper_peft.recipe.sections import AugmentSection, Gain, Pitch, SpecAugment, Speed, Telephone
from whisper_peft.types import Utterance

SEEDS = st.integers(0, 2**32 - 1)


def noisy(samples, seed, level=0.1):
    return np.random.default_rng(seed).normal(0, level, samples).astype(np.float32)


@given(SEEDS, st.integers(10, 4000), st.integers(1, 4000), st.floats(-20, 40), st.floats(1e-4, 10))
def test_any_noise_reaches_its_ratio_within_half_a_decibel(seed, samples, noise_samples, snr_db, level):
    speech, recording = noisy(samples, seed), noisy(noise_samples, seed + 1, level)
    noise = draw_stretch(recording, samples, np.random.default_rng(seed))
    added = add_noise(speech, noise, snr_db).astype(np.float64) - speech
    assert 10 * np.log10(np.mean(np.square(speech, dtype=np.float64)) / np.mean(added**2)) == pytest.approx(
        snr_db, abs=0.5
    )


@given(SEEDS, st.integers(1, 20_000), st.floats(0.5, 2.0))
def test_speed_divides_the_length_by_its_factor(seed, samples, factor):
    assert len(change_speed(noisy(samples, seed), factor)) == pytest.approx(samples / factor, abs=1)


@given(SEEDS, st.integers(1, 3000), st.integers(1, 3000))
def test_any_room_keeps_length_and_level(seed, samples, response_samples):
    speech = noisy(samples, seed)
    wet = reverberate(speech, noisy(response_samples, seed + 1))
    assert len(wet) == samples
    assert np.linalg.norm(wet) == pytest.approx(np.linalg.norm(speech), rel=1e-3)


PARTS = st.fixed_dictionaries(
    {
        "speed": st.builds(
            Speed, p=st.floats(0, 1), factors=st.lists(st.floats(0.7, 1.4), min_size=1).map(tuple)
        ),
        "pitch": st.builds(Pitch, p=st.sampled_from([0.0, 0.5])),
        "telephone": st.builds(
            Telephone,
            p=st.floats(0, 1),
            codecs=st.lists(st.sampled_from(["none", *CODECS]), min_size=1).map(tuple),
        ),
        "gain": st.builds(Gain, p=st.floats(0, 1)),
    }
)


@settings(max_examples=60, deadline=None)
@given(PARTS, SEEDS, st.integers(1, 8000), st.floats(1e-6, 3))
def test_any_chain_repeats_itself_and_leaves_its_input_alone(parts, seed, samples, level):
    augmentation = build_augmentation(AugmentSection(**parts))
    utterance = Utterance("u", noisy(samples, seed, level), "text", sampling_rate=16_000)
    before = utterance.waveform.copy()
    heard = augmentation(utterance, utterance_rng(seed, 0, "u")).waveform
    assert (utterance.waveform == before).all()
    assert heard.dtype == np.float32
    assert np.isfinite(heard).all()
    assert 0 < len(heard) <= np.ceil(samples * augmentation.longest_stretch) + 1
    assert (heard == augmentation(utterance, utterance_rng(seed, 0, "u")).waveform).all()


@given(SEEDS, st.integers(0, 300), st.integers(0, 4), st.floats(0, 1), st.integers(0, 200))
def test_masks_never_hide_more_than_they_may(seed, real_frames, number, share, bins):
    def hidden(**numbers):
        section = SpecAugment(p=1, time_mask_share=share, frequency_mask_bins=bins, **numbers)
        return ~draw_masks(80, 300, real_frames, section, np.random.default_rng(seed))

    assert not hidden(time_masks=number, frequency_masks=number)[:, real_frames:].any()
    assert hidden(time_masks=number, frequency_masks=0)[0].sum() <= number * int(share * real_frames)
    assert hidden(time_masks=0, frequency_masks=number)[:, 0].sum() <= number * bins
