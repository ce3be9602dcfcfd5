"""The gallery shows what training draws, and nothing else."""

import numpy as np
import pytest

from whisper_peft.data.batches.audio_contexts import AudioContexts
from whisper_peft.data.batches.batching import MicroBatch
from whisper_peft.data.batches.collation import Collator
from whisper_peft.data.effects.augmentation import build_augmentation
from whisper_peft.data.effects.augmentation_gallery import MASKS, AugmentationDraws, hang
from whisper_peft.data.randomness import utterance_rng
from whisper_peft.data.targets.labels import Labeller
from whisper_peft.recipe.sections import (
    AugmentSection,
    Gain,
    Pitch,
    SpecAugment,
    Speed,
    Telephone,
    TrainSection,
)
from whisper_peft.types import Utterance

SECTION = AugmentSection(
    speed=Speed(p=0.4),
    pitch=Pitch(p=0.3),
    telephone=Telephone(p=0.3),
    gain=Gain(p=0.5),
    spec_augment=SpecAugment(p=0.5),
)


def voice(name, seconds=1.0):
    times = np.arange(int(seconds * 16_000)) / 16_000
    samples = 0.3 * np.sin(2 * np.pi * 220 * times) * np.sin(2 * np.pi * 3 * times)
    return Utterance(name, samples.astype(np.float32), "hello", sampling_rate=16_000, duration_s=seconds)


def draws(section=SECTION, seed=42):
    return AugmentationDraws(build_augmentation(section), section.spec_augment, seed, 80)


ROWS = [voice(f"u{number}") for number in range(40)]


@pytest.mark.parametrize("epoch", [0, 3])
def test_what_is_heard_and_hidden_is_what_the_model_trains_on(tiny_en, epoch):
    collator = Collator(
        Labeller(tiny_en.tokenizer, multilingual=False, language=None),
        build_augmentation(SECTION),
        SECTION.spec_augment,
        AudioContexts.of(TrainSection(), seed=42),
        num_mel_bins=80,
        seed=42,
    )
    batch = collator(MicroBatch(epoch, 0, tuple((row,) for row in ROWS[:6])))
    heard = np.split(batch.samples.numpy(), np.cumsum(batch.sample_counts)[:-1])
    kept = np.split(batch.keep.numpy(), np.cumsum(batch.frames)[:-1], axis=1)
    for row, waveform, keep in zip(ROWS, heard, kept, strict=False):
        example = draws().example(row, epoch=epoch)
        np.testing.assert_array_equal(example.together, waveform)
        shown = np.ones_like(keep) if example.keep is None else example.keep
        np.testing.assert_array_equal(shown, keep[:, : shown.shape[1]])


def test_what_happens_is_known_without_hearing_it():
    for row in ROWS[:12]:
        example = draws().example(row, epoch=1)
        assert example.happening == draws().happening(row.id, epoch=1)


def test_an_effect_by_itself_draws_what_it_draws_among_others():
    only_gain = AugmentSection(gain=SECTION.gain)
    for row in ROWS[:20]:
        alone = {change.name: change for change in draws().example(row, epoch=0).alone}
        rng = utterance_rng(42, 0, row.id)
        expected = build_augmentation(only_gain)(row, rng).waveform
        if "gain" in alone:
            np.testing.assert_array_equal(alone["gain"].waveform, expected)
        else:
            np.testing.assert_array_equal(row.waveform, expected)


def test_the_words_tell_what_was_drawn():
    section = AugmentSection(
        gain=Gain(p=1), speed=Speed(p=1, factors=(1.25,)), telephone=Telephone(p=1, codecs=("gsm",))
    )
    example = draws(section).example(voice("a"), epoch=0)
    told = {change.name: change.told for change in example.alone}
    assert (told["speed"], told["telephone"]) == ("1.25 times as fast", "codec gsm")
    gain = next(change for change in example.alone if change.name == "gain")
    measured = 20 * np.log10(gain.waveform.std() / example.dry.std())
    assert float(told["gain"].removesuffix(" dB")) == pytest.approx(measured, abs=0.06)


def test_a_few_utterances_show_every_effect():
    gallery = hang(draws(), ROWS, epochs=1, most=8)
    assert gallery.missing == ()
    assert {name for one in gallery.examples for name in one.happening} == set(draws().names)
    assert len(gallery.examples) <= len(draws().names)


def test_how_often_an_effect_happened_is_counted_over_all_rows():
    gallery = hang(draws(), ROWS, epochs=1, most=1)
    happened = [draws().happening(row.id, epoch=0) for row in ROWS]
    assert gallery.happened == {name: sum(name in one for one in happened) for name in draws().names}
    assert gallery.rows == len(ROWS)


def test_what_never_happens_is_named():
    rare = AugmentSection(gain=Gain(p=1), pitch=Pitch(p=1e-9))
    gallery = hang(draws(rare), ROWS, epochs=2, most=8)
    assert gallery.missing == ("pitch",)
    assert gallery.happened == {"pitch": 0, "gain": 40}


def test_an_effect_that_one_epoch_lacks_is_found_in_another():
    seldom = AugmentSection(gain=Gain(p=0.03))
    rows = [row for row in ROWS if not draws(seldom).happening(row.id, epoch=0)][:2]
    assert hang(draws(seldom), rows, epochs=1, most=8).examples == ()
    (example,) = hang(draws(seldom), rows, epochs=200, most=8).examples
    assert example.epoch > 0
    assert "gain" in draws(seldom).happening(example.id, epoch=example.epoch)


def test_short_utterances_are_preferred_and_broken_ones_passed_over():
    gain = draws(AugmentSection(gain=Gain(p=1)))
    broken = Utterance("broken", b"no audio", "x", duration_s=1.0)
    rows = [voice("long", 20.0), broken, voice("short")]
    assert [one.id for one in hang(gain, rows, epochs=1, most=8).examples] == ["short"]
    assert [one.id for one in hang(gain, rows[:1], epochs=1, most=8).examples] == ["long"]


def test_masks_alone_are_an_augmentation_too():
    section = AugmentSection(spec_augment=SpecAugment(p=1))
    (example,) = hang(draws(section), ROWS, epochs=1, most=8).examples
    assert example.happening == (MASKS,)
    assert 0 < example.hidden_share < 1
    assert example.together is example.dry
