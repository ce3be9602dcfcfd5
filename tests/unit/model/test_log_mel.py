from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperFeatureExtractor

from whisper_peft.model.log_mel import LogMel


def extractor_features(waveform: np.ndarray, num_mel_bins: int) -> torch.Tensor:
    extractor = WhisperFeatureExtractor(feature_size=num_mel_bins)
    return torch.from_numpy(extractor(waveform, sampling_rate=16_000)["input_features"][0])


def padded(waveforms: list[np.ndarray]) -> torch.Tensor:
    samples = [torch.from_numpy(waveform) for waveform in waveforms]
    return torch.nn.utils.rnn.pad_sequence(samples, batch_first=True)


@pytest.fixture(scope="module")
def speech(prompts_en) -> list[np.ndarray]:
    return [soundfile.read(row["file_name"], dtype="float32")[0] for row in prompts_en[:3]]


@pytest.mark.parametrize("num_mel_bins", [80, 128])
def test_a_batch_equals_the_feature_extractor_on_speech_noise_and_silence(speech, num_mel_bins):
    rng = np.random.default_rng(0)
    full_window = rng.normal(0, 0.1, 480_000).astype(np.float32)
    clips = [*speech, full_window, np.zeros(16_000, np.float32), speech[0][:37]]
    features = LogMel(num_mel_bins)(padded(clips))
    for clip, own in zip(clips, features, strict=True):
        torch.testing.assert_close(own, extractor_features(clip, num_mel_bins), rtol=0, atol=1e-4)


@given(
    samples=st.integers(1, 48_000),
    extra_frames=st.integers(0, 200),
    loud_end=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(max_examples=25, deadline=None)
def test_a_cut_context_equals_the_beginning_of_the_full_window(samples, extra_frames, loud_end, seed):
    clip = np.random.default_rng(seed).normal(0, 1e-3, samples).astype(np.float32)
    if loud_end:
        clip[-80:] = 1.0
    frames = min(3000, -(-samples // 160) + extra_frames)
    log_mel = LogMel(80)
    full = log_mel(torch.from_numpy(clip)[None])
    torch.testing.assert_close(
        log_mel(torch.from_numpy(clip)[None], frames=frames), full[..., :frames], rtol=0, atol=1e-5
    )


def test_loudness_of_a_neighbour_does_not_matter():
    rng = np.random.default_rng(1)
    quiet, loud = (rng.normal(0, scale, 16_000).astype(np.float32) for scale in (1e-4, 1.0))
    log_mel = LogMel(80)
    together = log_mel(padded([quiet, loud]), frames=200)
    alone = log_mel(padded([quiet]), frames=200)
    torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-6)


def test_autocast_does_not_coarsen_the_features(speech):
    log_mel = LogMel(80)
    exact = log_mel(padded(speech[:1]), frames=200)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = log_mel(padded(speech[:1]), frames=200)
    assert under_autocast.dtype == torch.float32
    assert torch.equal(under_autocast, exact)


def test_filters_are_not_saved_with_a_model():
    assert not LogMel(80).state_dict()


@pytest.mark.parametrize("frames", [0, 3001])
def test_a_context_outside_the_window_is_refused(frames):
    with pytest.raises(ValueError, match=r"outside 1\.\.3000"):
        LogMel(80)(torch.zeros(1, 16_000), frames=frames)
