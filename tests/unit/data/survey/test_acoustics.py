import numpy as np
import pytest
import soundfile
import soxr

from whisper_peft.data.survey.acoustics import frame_energies, measure_acoustics, snr_db


@pytest.fixture(scope="module")
def clips(prompts_en):
    clips = [soundfile.read(row["file_name"], dtype="float32")[0] for row in prompts_en[:30]]
    return [clip for clip in clips if len(clip) > 16_000]


def mixed(speech, noise, snr):
    scale = np.sqrt(np.mean(speech**2) / np.mean(noise**2) / 10 ** (snr / 10))
    return (speech + scale * noise).astype(np.float32)


def estimated(clips, snr):
    rng = np.random.default_rng(0)
    mixes = [mixed(clip, rng.normal(size=len(clip)), snr) for clip in clips]
    return float(np.median([snr_db(frame_energies(mix)) for mix in mixes]))


@pytest.mark.parametrize("snr", [0, 5, 10, 15, 20])
def test_white_noise_under_speech_is_estimated_within_a_decibel_and_a_half(clips, snr):
    assert estimated(clips, snr) == pytest.approx(snr, abs=1.5)


def test_estimated_snr_rises_with_the_true_one(clips):
    found = [estimated(clips, snr) for snr in range(-5, 31, 5)]
    assert found == sorted(found)


def test_digital_silence_says_nothing_of_the_noise(clips):
    speech = mixed(clips[0], np.random.default_rng(0).normal(size=len(clips[0])), 10)
    padded = np.concatenate([np.zeros(80_000, np.float32), speech])
    assert measure_acoustics(padded).snr_db == pytest.approx(measure_acoustics(speech).snr_db, abs=0.5)


def test_an_offset_is_told_and_changes_no_estimate(clips):
    plain = measure_acoustics(clips[0] * 0.5)
    moved = measure_acoustics(clips[0] * 0.5 + 0.25)
    assert moved.offset == pytest.approx(0.25, abs=0.01)
    assert moved.snr_db == pytest.approx(plain.snr_db, abs=0.1)
    assert moved.silence_share == pytest.approx(plain.silence_share, abs=0.01)


def test_clipping_is_seen_however_loud_the_file_is(clips):
    for clip in clips:
        clipped = np.clip(clip * 8 / np.abs(clip).max(), -1, 1)
        assert measure_acoustics(clip).clipping_share < 0.001
        assert measure_acoustics(clipped * 0.3).clipping_share > 0.01


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_clipping_is_seen_at_any_rate(clips, rate):
    for clip in clips[:5]:
        samples = soxr.resample(clip, 16_000, rate)
        clipped = np.clip(samples * 8 / np.abs(samples).max(), -1, 1)
        assert measure_acoustics(samples, rate).clipping_share < 0.001
        assert measure_acoustics(clipped, rate).clipping_share > 0.01


@pytest.mark.parametrize("hertz", [50, 100, 254, 1000])
def test_the_crest_of_a_tone_is_not_clipped(hertz):
    tone = np.sin(2 * np.pi * hertz * np.arange(32_000) / 16_000).astype(np.float32)
    assert measure_acoustics(tone).clipping_share == 0.0
    assert measure_acoustics(np.clip(tone, -0.7, 0.7)).clipping_share > 0.4


def test_silence_before_and_after_speech_is_counted(clips):
    speech = clips[0]
    still = np.zeros(len(speech), np.float32)
    before = measure_acoustics(speech).silence_share
    padded = measure_acoustics(np.concatenate([still, speech, still]))
    assert padded.silence_share == pytest.approx((2 + before) / 3, abs=0.01)


def test_equal_recordings_share_a_digest_whatever_file_they_lie_in(clips, tmp_path):
    read = []
    for name, subtype in (("a.flac", "PCM_16"), ("a.wav", "PCM_24"), ("b.wav", "FLOAT")):
        soundfile.write(tmp_path / name, clips[0], 16_000, subtype=subtype)
        read.append(soundfile.read(tmp_path / name, dtype="float32")[0])
    assert len({measure_acoustics(samples).digest for samples in read}) == 1
    assert measure_acoustics(clips[1]).digest != measure_acoustics(clips[0]).digest


@pytest.mark.parametrize("samples", [1, 100, 161])
def test_recordings_shorter_than_a_frame_can_be_measured(samples):
    assert measure_acoustics(np.full(samples, 0.1, np.float32)).snr_db is None
