"""The chain of effects: what every effect promises, alone and together."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from whisper_peft.data.effects.augmentation import build_augmentation
from whisper_peft.data.randomness import utterance_rng
from whisper_peft.errors import DataError, RecipeError
from whisper_peft.recipe.sections import (
    AugmentSection,
    Gain,
    Noise,
    Pitch,
    Reverb,
    SpecAugment,
    Speed,
    Telephone,
)
from whisper_peft.types import Utterance

EFFECTS = ["speed", "pitch", "reverb", "noise", "telephone", "gain"]


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for number in range(4):
        decay = np.exp(-np.arange(8000) / 1000)
        soundfile.write(folder / f"{number}.wav", rng.normal(0, 0.2, 8000) * decay + 0.001, 16_000)
    return folder


@pytest.fixture(scope="session")
def sections(recordings):
    return {
        "speed": Speed(p=1, factors=(0.9, 1.1)),
        "pitch": Pitch(p=1),
        "reverb": Reverb(p=1, source=recordings),
        "noise": Noise(p=1, source=recordings),
        "telephone": Telephone(p=1, codecs=("none", "mu-law", "a-law", "gsm", "adpcm")),
        "gain": Gain(p=1),
    }


def voice(seconds=1.0, identity="u1"):
    times = np.arange(int(seconds * 16_000)) / 16_000
    samples = 0.3 * np.sin(2 * np.pi * 220 * times) * np.sin(2 * np.pi * 3 * times)
    return Utterance(identity, samples.astype(np.float32), "hello", sampling_rate=16_000, duration_s=seconds)


def heard(section, utterance, seed=0, epoch=0):
    return build_augmentation(section)(utterance, utterance_rng(seed, epoch, utterance.id))


def test_effects_happen_in_the_order_of_the_section(sections):
    names = [step.name for step in build_augmentation(AugmentSection(**sections)).steps]
    assert names == [name for name in AugmentSection.model_fields if name in sections] == EFFECTS


def test_nothing_to_do_gives_back_the_very_same_utterance():
    utterance = voice()
    assert heard(AugmentSection(), utterance) is utterance
    assert heard(AugmentSection(gain=Gain(p=0), spec_augment=SpecAugment(p=1)), utterance) is utterance


def test_effect_that_does_not_happen_leaves_the_very_same_array(sections):
    section = AugmentSection(gain=Gain(p=1e-12), speed=Speed(p=1e-12))
    utterance = voice()
    assert heard(section, utterance).audio is utterance.audio


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("seconds", [0.01, 0.5, 29.5])
def test_each_effect_keeps_its_promises(sections, name, seconds):
    section, utterance = AugmentSection(**{name: sections[name]}), voice(seconds)
    before = utterance.waveform.copy()
    utterance.waveform.flags.writeable = False
    for epoch in range(6):
        result = heard(section, utterance, epoch=epoch)
        assert (utterance.waveform == before).all()
        assert result.waveform.dtype == np.float32
        assert result.waveform.ndim == 1
        assert np.isfinite(result.waveform).all()
        assert not np.shares_memory(result.waveform, utterance.waveform)
        assert 0 < len(result.waveform) <= 480_000
        assert result.duration_s == len(result.waveform) / 16_000
        assert (result.text, result.id) == (utterance.text, utterance.id)
        assert name == "speed" or len(result.waveform) == len(utterance.waveform)
        assert (result.waveform == heard(section, utterance, epoch=epoch).waveform).all()


@pytest.mark.parametrize("name", EFFECTS)
def test_silence_stays_finite_through_each_effect(sections, name):
    silent = Utterance("s", np.zeros(16_000, np.float32), "", sampling_rate=16_000)
    assert np.isfinite(heard(AugmentSection(**{name: sections[name]}), silent).waveform).all()


@pytest.mark.parametrize("name", [name for name in EFFECTS if name != "speed"])
def test_epochs_differ(sections, name):
    draws = {
        heard(AugmentSection(**{name: sections[name]}), voice(), epoch=e).waveform.tobytes()
        for e in range(12)
    }
    assert len(draws) > 2


@pytest.mark.parametrize("other", EFFECTS)
def test_switching_one_effect_on_changes_no_draw_of_another(sections, other):
    drawn = {}
    for switched in (False, True):
        section = AugmentSection(
            **({other: sections[other]} if switched else {}), custom=(remember(drawn, switched),)
        )
        heard(section, voice())
    assert drawn[True] == drawn[False]


def remember(drawn, key):
    def effect(waveform, rng):
        drawn[key] = rng.random(4).tolist()
        return waveform

    return effect


def test_probability_is_the_share_of_utterances():
    augmentation = build_augmentation(AugmentSection(gain=Gain(p=0.3, gain_db=(-6, -6))))
    utterances = [voice(0.01, f"u{number}") for number in range(1000)]
    changed = [augmentation(u, utterance_rng(0, 0, u.id)).audio is not u.audio for u in utterances]
    assert sum(changed) == pytest.approx(300, abs=50)


PROGRAM = """
import hashlib, numpy as np
from pathlib import Path
from whisper_peft.data.effects.augmentation import build_augmentation
from whisper_peft.data.randomness import utterance_rng
from whisper_peft.recipe.sections import AugmentSection, Gain, Noise, Reverb, Speed, Telephone
from whisper_peft.types import Utterance
source = Path({folder!r})
augmentation = build_augmentation(AugmentSection(
    speed=Speed(p=0.5), noise=Noise(p=0.5, source=source), reverb=Reverb(p=0.5, source=source),
    telephone=Telephone(p=0.5), gain=Gain(p=0.5)))
tone = np.sin(np.arange(8000, dtype=np.float32) / 9)
for number in {order}:
    utterance = Utterance(f"u{{number}}", tone, "", sampling_rate=16_000)
    heard = augmentation(utterance, utterance_rng(7, 3, utterance.id)).waveform
    print(number, hashlib.sha256(heard.tobytes()).hexdigest())
"""


def run_worker(folder, order, hash_seed):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(folder=str(folder), order=order)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()


def test_processes_and_orders_draw_the_same(recordings):
    alone = run_worker(recordings, list(range(12)), "1")
    shared_out = run_worker(recordings, [10, 4, 2, 8, 0, 6], "2") + run_worker(
        recordings, [1, 3, 5, 7, 11, 9], "3"
    )
    assert sorted(alone) == sorted(shared_out)
    assert len({line.split()[1] for line in alone}) > 8


def test_longest_stretch_is_that_of_the_slowest_factor():
    slow = AugmentSection(speed=Speed(p=0.1, factors=(1.1, 0.8)))
    assert build_augmentation(slow).longest_stretch == 1.25
    assert build_augmentation(AugmentSection(speed=Speed(p=1, factors=(1.1,)))).longest_stretch == 1.0
    assert build_augmentation(AugmentSection(speed=Speed(p=0, factors=(0.5,)))).longest_stretch == 1.0


def test_custom_effects_come_last_and_take_names():
    section = AugmentSection(gain=Gain(p=1, gain_db=(0, 0)), custom=("tests.nowhere:missing",))
    with pytest.raises(RecipeError, match=r"tests\.nowhere:missing"):
        build_augmentation(section)
    shortened = heard(AugmentSection(custom=(lambda waveform, rng: waveform[:100],)), voice())
    assert len(shortened.waveform) == 100


def test_custom_effect_by_name_is_imported():
    section = AugmentSection(custom=("unit_custom_effects:halve",))
    module = type(sys)("unit_custom_effects")
    module.halve = lambda waveform, rng: waveform / 2
    sys.modules["unit_custom_effects"] = module
    try:
        assert (heard(section, voice()).waveform == voice().waveform / 2).all()
    finally:
        del sys.modules["unit_custom_effects"]


@pytest.mark.parametrize(
    "name", ["json:nowhere", "json", "no.such:f", "", ":f", "json:__doc__", "json:decoder"]
)
def test_name_of_no_effect_is_refused_before_training(name):
    with pytest.raises(RecipeError, match=r"augment\.custom"):
        build_augmentation(AugmentSection(custom=(name,)))


def test_custom_effect_cannot_change_its_input():
    def careless(waveform, rng):
        waveform *= 0
        return waveform

    utterance = voice()
    assert not heard(AugmentSection(custom=(careless,)), utterance).waveform.any()
    assert utterance.waveform.any()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda w: np.stack([w, w]), "one axis"),
        (lambda w: (w * 100).astype(np.int16), "int16"),
        (lambda w: np.tile(w, 2), "not lengthen"),
        (lambda w: w[:0], "0 samples"),
        (lambda w: w * np.nan, "NaN"),
        (lambda w: None, "object"),
    ],
)
def test_custom_effect_that_breaks_the_promise_is_named(returned, message):
    with pytest.raises(RecipeError, match=rf"augment\.custom\[0\].*{message}"):
        heard(AugmentSection(custom=(lambda waveform, rng: returned(waveform),)), voice())


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (AugmentSection(noise=Noise(p=0.1)), r"augment\.noise\.source is not set"),
        (AugmentSection(reverb=Reverb(p=0.1)), r"augment\.reverb\.source is not set"),
        (AugmentSection(speed=Speed(p=0.1, factors=())), r"augment\.speed\.factors"),
        (AugmentSection(speed=Speed(p=0.1, factors=(0.0,))), r"augment\.speed\.factors"),
        (AugmentSection(pitch=Pitch(p=0.1, semitones=(2, -2))), r"augment\.pitch\.semitones"),
        (AugmentSection(gain=Gain(p=0.1, gain_db=(0, float("inf")))), r"augment\.gain\.gain_db"),
        (AugmentSection(telephone=Telephone(p=0.1, codecs=())), r"augment\.telephone\.codecs"),
    ],
)
def test_bad_settings_are_refused_when_built(section, message):
    with pytest.raises(RecipeError, match=message):
        build_augmentation(section)


def test_bad_settings_of_an_effect_that_is_off_are_ignored(tmp_path):
    build_augmentation(AugmentSection(noise=Noise(p=0, source=tmp_path / "gone")))
    with pytest.raises(DataError, match="no such folder"):
        build_augmentation(AugmentSection(noise=Noise(p=0.5, source=tmp_path / "gone")))


def test_real_noises_and_rooms_reach_their_ratio_and_keep_the_level(shared):
    clip = min((shared / "librispeech").rglob("*.flac"))
    speech = Utterance("real", soundfile.read(clip, dtype="float32")[0], "", sampling_rate=16_000)
    click = Utterance("real", np.eye(1, 16_000, 4000, dtype=np.float32)[0], "", sampling_rate=16_000)
    noisy = AugmentSection(noise=Noise(p=1, source=shared / "noise", snr_db=(7, 7)))
    roomy = AugmentSection(reverb=Reverb(p=1, source=shared / "rir"))
    for epoch in range(8):
        added = heard(noisy, speech, epoch=epoch).waveform - speech.waveform
        assert 20 * np.log10(np.linalg.norm(speech.waveform) / np.linalg.norm(added)) == pytest.approx(
            7, abs=0.5
        )
        wet = heard(roomy, speech, epoch=epoch).waveform
        assert np.linalg.norm(wet) == pytest.approx(np.linalg.norm(speech.waveform), rel=1e-3)
        assert np.argmax(np.abs(heard(roomy, click, epoch=epoch).waveform)) == 4000
