"""Nearly equal recordings and sentences are found by their codes, others are not, in bounded memory."""

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from whisper_peft.data.audio.decoding import resampled
from whisper_peft.data.survey.likeness import (
    SENTENCE_PARTS_APART,
    SOUND_BITS_APART,
    bits_apart,
    parts_apart,
    sentence_index,
    sentence_likeness,
    sound_index,
    sound_likeness,
)
from whisper_peft.types import SAMPLING_RATE, Waveform

PROMPTS = sorted((Path(__file__).parents[3] / "data/prompts").rglob("*.flac"))


def heard(path: Path) -> Waveform:
    samples, rate = soundfile.read(path, dtype="float32")
    return resampled(samples, rate)


@pytest.fixture(scope="module")
def speech() -> list[Waveform]:
    """Real recordings of half a second and more."""
    every = [heard(path) for path in PROMPTS]
    return [waveform for waveform in every if len(waveform) >= SAMPLING_RATE // 2]


def coded(waveform: Waveform, **how: str) -> Waveform:
    file = io.BytesIO()
    soundfile.write(file, waveform, SAMPLING_RATE, **how)
    file.seek(0)
    return heard(file)  # type: ignore[arg-type]


CHANGES: dict[str, Callable[[Waveform], Waveform]] = {
    "louder": lambda waveform: waveform * np.float32(1.7),
    "softer": lambda waveform: waveform * np.float32(0.2),
    "vorbis": lambda waveform: coded(waveform, format="OGG", subtype="VORBIS"),
    "mp3": lambda waveform: coded(waveform, format="MP3"),
    "8 bits": lambda waveform: coded(waveform, format="WAV", subtype="PCM_U8"),
    "telephone": lambda waveform: resampled(resampled(waveform, 2 * SAMPLING_RATE), SAMPLING_RATE // 2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_recording_is_found_again(speech, change):
    index, found = sound_index(), 0
    for number, waveform in enumerate(speech):
        index.add(sound_likeness(waveform), str(number), 0)
    for number, waveform in enumerate(speech):
        near = index.add(sound_likeness(CHANGES[change](waveform)), "again", 1)
        found += near is not None and near.row_id == str(number)
    assert found >= 0.9 * len(speech)


def test_other_recordings_are_not_alike(speech):
    index = sound_index()
    assert [index.add(sound_likeness(one), str(n), 0) for n, one in enumerate(speech)] == [None] * len(speech)
    codes = [sound_likeness(one).code for one in speech]
    assert min(bits_apart(*pair) for pair in itertools.combinations(codes, 2)) > SOUND_BITS_APART


def test_recordings_of_other_lengths_are_not_compared(speech):
    index, waveform = sound_index(), max(speech, key=len)
    index.add(sound_likeness(waveform), "a", 0)
    assert index.add(sound_likeness(waveform[: -SAMPLING_RATE // 20]), "b", 0) is not None
    assert index.add(sound_likeness(np.tile(waveform, 2)), "c", 0) is None


@pytest.mark.parametrize("samples", [0, 1, 7_999])
def test_what_is_too_short_has_no_code(samples):
    assert sound_likeness(np.ones(samples, np.float32)).keys == ()


SENTENCE = "the boats went out at six in the morning before anybody else was awake"


@pytest.mark.parametrize(
    "near",
    [
        SENTENCE.replace("six", "seven"),
        SENTENCE.replace("boats", "boat"),
        SENTENCE.removesuffix(" awake"),
        f"and {SENTENCE}",
    ],
)
def test_a_sentence_with_a_word_changed_is_found_again(near):
    index = sentence_index()
    index.add(sentence_likeness(SENTENCE), "a", 0)
    found = index.add(sentence_likeness(near), "b", 1)
    assert found is not None
    assert (found.row_id, found.split) == ("a", 0)


@pytest.mark.parametrize(
    "other",
    [
        "the boats came home in the evening when everybody was asleep",
        "yes",
        "",
        SENTENCE[: len(SENTENCE) // 3],
    ],
)
def test_another_sentence_is_not_found(other):
    index = sentence_index()
    index.add(sentence_likeness(SENTENCE), "a", 0)
    assert index.add(sentence_likeness(other), "b", 1) is None


def test_random_sentences_are_never_alike():
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), rng.integers(2, 9))) for _ in range(500)]
    index = sentence_index()
    for number in range(2_000):
        sentence = " ".join(rng.choice(words, 10))
        assert index.add(sentence_likeness(sentence), str(number), 0) is None


def test_letters_of_any_script_have_codes():
    first, second = (sentence_likeness(text) for text in ("船は朝六時に出た" * 4, "船は朝七時に出た" * 4))
    assert len(first.code) == len(second.code) == 16
    assert parts_apart(first.code, second.code) > SENTENCE_PARTS_APART


def test_the_index_forgets_but_never_grows():
    index = sentence_index()
    index._keys.most = 100
    for number in range(500):
        index.add(sentence_likeness(f"sentence number {number} of a corpus of {number**3}"), str(number), 0)
    assert len(index._keys._first) <= 100
