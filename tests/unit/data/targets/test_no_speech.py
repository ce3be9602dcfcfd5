"""Windows without speech: drawn from their id, of real recordings or made up."""

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from whisper_peft.data.randomness import utterance_rng
from whisper_peft.data.targets.no_speech import LEVELS_DB, NoSpeech, Quiet, made_up, no_speech_row
from whisper_peft.errors import DataError
from whisper_peft.types import Utterance


def row(seed=0):
    return no_speech_row(np.random.default_rng(seed), among=[Utterance("a", b"", "Oui.", language="fr")])


def heard(one, quiet=None, epoch=0):
    return (quiet or Quiet())(one, utterance_rng(0, epoch, one.id)).waveform


def test_a_row_stays_what_it_is_on_its_way_to_a_worker():
    assert isinstance(pickle.loads(pickle.dumps(row())), NoSpeech)
    assert isinstance(dataclasses.replace(row(), duration_s=1.0), NoSpeech)


def test_the_same_row_sounds_the_same_everywhere_and_others_do_not():
    assert np.array_equal(heard(row(0)), heard(row(0)))
    assert len(heard(row(0))) == round(row(0).duration_s * 16_000)
    assert row(0).id != row(1).id


def test_made_up_sounds_are_silence_or_noise_within_their_levels():
    levels = []
    for seed in range(60):
        waveform = made_up(8_000, np.random.default_rng(seed))
        assert waveform.dtype == np.float32
        assert np.isfinite(waveform).all()
        if waveform.any():
            levels.append(20 * np.log10(np.sqrt(np.mean(waveform.astype(float) ** 2))))
    assert 3 < 60 - len(levels) < 25
    assert LEVELS_DB[0] - 0.1 <= min(levels) <= max(levels) <= LEVELS_DB[1] + 0.1
    assert max(levels) - min(levels) > 30


def test_noises_have_several_colours():
    def tilt(waveform):
        power = np.abs(np.fft.rfft(waveform)) ** 2
        half = len(power) // 2
        return np.log10(power[1:half].sum() / power[half:].sum())

    tilts = [tilt(w) for w in (made_up(16_000, np.random.default_rng(n)) for n in range(40)) if w.any()]
    assert min(tilts) < 0.1
    assert max(tilts) > 2


def test_recordings_of_a_folder_are_cut_and_repeated(tmp_path):
    samples = np.linspace(-0.5, 0.5, 16_000, dtype=np.float32)
    soundfile.write(tmp_path / "room.wav", samples, 16_000, subtype="FLOAT")
    waveform = heard(row(), Quiet.of(tmp_path))
    assert len(waveform) == round(row().duration_s * 16_000)
    assert set(np.unique(waveform)) <= set(samples)


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(DataError, match=r"targets\.no_speech_source is .*nowhere"):
        Quiet.of(Path("nowhere"))
