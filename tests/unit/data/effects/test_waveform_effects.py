"""Each effect does what its name says, measured."""

import numpy as np
import pytest

from whisper_peft.data.effects.waveform_effects import (
    LONGEST_SAMPLES,
    add_noise,
    change_gain,
    change_speed,
    draw_stretch,
    reverberate,
    shift_pitch,
)


def tone(hertz, seconds=1.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(16_000 * seconds)) / 16_000)).astype(np.float32)


def hiss(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def loudest_hertz(waveform):
    return np.argmax(np.abs(np.fft.rfft(waveform))) * 16_000 / len(waveform)


def rms(waveform):
    return np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
def test_noise_reaches_its_ratio(snr_db):
    speech = tone(300)
    added = add_noise(speech, hiss(16_000), snr_db) - speech
    assert 20 * np.log10(rms(speech) / rms(added)) == pytest.approx(snr_db, abs=0.1)


def test_silence_gets_no_noise_and_silent_noise_adds_nothing():
    silence = np.zeros(100, np.float32)
    assert not add_noise(silence, hiss(100), 5.0).any()
    assert (add_noise(hiss(100), silence, 5.0) == hiss(100)).all()


def test_short_noise_is_repeated_and_long_noise_is_cut_anywhere():
    recording = np.arange(10, dtype=np.float32)
    rngs = [np.random.default_rng(seed) for seed in range(100)]
    assert (np.diff(draw_stretch(recording, 25, rngs[0])) % 10 == 1).all()
    starts = {int(draw_stretch(recording, 4, rng)[0]) for rng in rngs}
    assert starts == set(range(7))


def test_room_keeps_timing_length_and_level():
    speech = np.concatenate([np.zeros(5000, np.float32), hiss(3000), np.zeros(8000, np.float32)])
    rng = np.random.default_rng(1)
    tail = rng.normal(0, 0.1, 4000) * np.exp(-np.arange(4000) / 800)
    response = np.concatenate([np.zeros(700), [1.0], tail]).astype(np.float32)
    wet = reverberate(speech, response)
    assert len(wet) == len(speech)
    assert rms(wet) == pytest.approx(rms(speech), rel=1e-3)
    assert np.abs(wet[:4990]).max() < 1e-4
    assert rms(wet[8200:9000]) > 0.01
    lags = [float(np.dot(speech, np.roll(wet, lag))) for lag in range(-20, 21)]
    assert int(np.argmax(lags)) - 20 == 0


def test_bare_impulse_is_no_room():
    response = np.zeros(50, np.float32)
    response[20] = -0.3
    assert np.abs(reverberate(hiss(500), response)) == pytest.approx(np.abs(hiss(500)), abs=1e-5)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 1.37])
def test_speed_changes_length_and_pitch_by_its_factor(factor):
    fast = change_speed(tone(1000, 2.0), factor)
    assert len(fast) == pytest.approx(32_000 / factor, abs=1)
    assert loudest_hertz(fast) == pytest.approx(1000 * factor, abs=2)


def test_slowing_down_stops_at_thirty_seconds():
    assert len(change_speed(np.zeros(29 * 16_000, np.float32), 0.9)) == 29 * 16_000
    assert len(change_speed(np.zeros(27 * 16_000, np.float32), 0.9)) == LONGEST_SAMPLES


@pytest.mark.parametrize("semitones", [-4.0, 3.0])
def test_pitch_changes_frequency_and_neither_tempo_nor_level(semitones):
    syllable = np.concatenate([np.zeros(8000, np.float32), tone(1000, 0.3), np.zeros(6000, np.float32)])
    shifted = shift_pitch(syllable, semitones)
    assert len(shifted) == len(syllable)
    assert loudest_hertz(shifted) == pytest.approx(1000 * 2 ** (semitones / 12), rel=0.01)
    assert rms(shifted) == pytest.approx(rms(syllable), rel=1e-3)
    assert middle_s(shifted) == pytest.approx(middle_s(syllable), abs=0.02)


def middle_s(waveform):
    energy = np.square(waveform, dtype=np.float64)
    return float((np.arange(len(waveform)) * energy).sum() / energy.sum()) / 16_000


def test_gain_clips_at_full_scale():
    louder = change_gain(tone(200), 12.0)
    assert np.abs(louder).max() == 1.0
    assert rms(change_gain(tone(200), -6.0)) == pytest.approx(rms(tone(200)) * 10 ** (-6 / 20), rel=1e-5)
