"""The telephone line: its band, its codecs, its timing."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from whisper_peft.data.effects.telephone import CODECS, telephone

PROMPTS = Path(__file__).parents[3] / "data" / "prompts" / "en"


def tone(hertz, seconds=1.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(16_000 * seconds)) / 16_000)).astype(np.float32)


def speech():
    row = json.loads((PROMPTS / "metadata.jsonl").read_text("utf-8").splitlines()[0])
    return soundfile.read(PROMPTS / row["file_name"], dtype="float32")[0]


def level_db(waveform):
    return 10 * np.log10(np.mean(np.square(waveform[4000:-4000])) + 1e-12)


@pytest.mark.parametrize("hertz", [60, 150, 4200, 7000])
def test_tones_outside_the_band_are_gone(hertz):
    assert level_db(telephone(tone(hertz), "none")) < level_db(tone(hertz)) - 40


@pytest.mark.parametrize("hertz", [400, 1000, 3200])
def test_tones_inside_the_band_pass(hertz):
    assert level_db(telephone(tone(hertz), "none")) == pytest.approx(level_db(tone(hertz)), abs=0.5)


@pytest.mark.parametrize("codec", CODECS)
def test_codec_adds_distortion(codec):
    dry, wet = telephone(speech(), "none"), telephone(speech(), codec)
    error_db = 10 * np.log10(np.sum((wet - dry) ** 2) / np.sum(dry**2))
    assert -45 < error_db < -5


@pytest.mark.parametrize("codec", ["none", *CODECS])
def test_words_stay_in_place(codec):
    dry, wet = speech(), telephone(speech(), codec)
    lags = [float(np.dot(dry[1000:-1000], np.roll(wet, lag)[1000:-1000])) for lag in range(-400, 401)]
    assert int(np.argmax(lags)) == 400


def test_codecs_differ_from_each_other():
    heard = [telephone(speech(), codec) for codec in ("none", *CODECS)]
    assert len({waveform.tobytes() for waveform in heard}) == len(CODECS) + 1


def test_overload_clips_and_does_not_wrap_around():
    loud = 4 * tone(440)
    assert np.dot(telephone(loud, "mu-law"), loud) > 0.8 * np.linalg.norm(loud) * np.linalg.norm(
        telephone(loud, "mu-law")
    )
