"""The contract tests find what they are for: each broken promise is named."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whisper_peft.data.effects.augmentation import Step, build_augmentation
from whisper_peft.recipe.sections import AugmentSection, Gain, Noise, Pitch, Reverb, Speed, Telephone
from whisper_peft.testing import check_augmentation, check_source
from whisper_peft.types import Segment, Utterance, Waveform

SPEECH = Path(__file__).parents[2] / "data" / "prompts" / "en" / "train"
FILES = sorted(SPEECH.glob("*.flac"))[:6]


class Good:
    """A source that keeps its promises; each test breaks one of them."""

    is_stream = False

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()

    @property
    def count(self) -> int | None:
        return len(FILES)

    def __iter__(self) -> Iterator[Utterance]:
        self.skipped.clear()
        yield from (Utterance(file.stem, file, "Said.") for file in FILES)


class Repeats(Good):
    def __iter__(self) -> Iterator[Utterance]:
        yield from (dataclasses.replace(row, id="same") for row in super().__iter__())


class GoesOn(Good):
    def __init__(self) -> None:
        super().__init__()
        self.passing = itertools.cycle(FILES)

    def __iter__(self) -> Iterator[Utterance]:
        return (Utterance(file.stem, file, "Said.") for file in itertools.islice(self.passing, 5))


class Miscounts(Good):
    @property
    def count(self) -> int | None:
        return 7


class AddsUp(Good):
    def __iter__(self) -> Iterator[Utterance]:
        self.skipped["missing"] += 1
        yield from (Utterance(file.stem, file, "Said.") for file in FILES)


class HoldsALambda(Good):
    def __init__(self) -> None:
        super().__init__()
        self.rule = lambda: None


class HoldsItsFiles(Good):
    def __init__(self) -> None:
        super().__init__()
        self.content = [bytes(500_000) + bytes([n]) for n in range(6)]


class Keeps(Good):
    is_stream = True

    def __iter__(self) -> Iterator[Utterance]:
        kept = []
        for row in super().__iter__():
            kept.append(bytearray(1_000_000))
            yield row


class OneRow(Good):
    row: Any = None
    count = None

    def __iter__(self) -> Iterator[Utterance]:
        yield self.row


def source_of(**fields: Any) -> Good:
    source = OneRow()
    source.row = Utterance(**{"id": "a", "audio": FILES[0], "text": "Said.", **fields})
    return source


def test_a_source_that_keeps_its_promises_passes() -> None:
    check_source(Good())


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (Repeats(), "the id 'same' is used twice"),
        (GoesOn(), "start anew at each call"),
        (Miscounts(), "count is 7, but there are 6 rows"),
        (AddsUp(), "clear the counts"),
        (HoldsALambda(), "cannot be sent to a worker process"),
        (HoldsItsFiles(), "it should name files, not hold them"),
        (Keeps(), "what has passed should not be kept"),
        (source_of(id=3), "an id is 3"),
        (source_of(audio="a.wav"), "the audio of a is a str"),
        (source_of(audio=np.zeros(8)), "without its sampling_rate"),
        (source_of(text=None), "the text of a is a NoneType"),
        (source_of(task="sing"), "the task of a is 'sing'"),
        (source_of(speaker_id=3), "neither a text nor None"),
        (source_of(start_s=2.0, end_s=1.0), "lasts from 2.0 to 1.0 s"),
        (source_of(segments=(Segment(1, 2, "b"), Segment(0, 1, "a"))), "overlap or are not in order"),
        (source_of(segments=(Segment(-1, 2, "b"),)), "begins before it"),
        (source_of(previous_segments=(Segment(0, 2, "b"),)), "previous_segments and no previous_text"),
        (source_of(start_s=5.0, end_s=6.0, segments=(Segment(5, 6, "b"),)), "ends after it"),
    ],
)
def test_a_broken_promise_is_named(source: Good, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_source(source)


def test_a_source_without_rows_is_no_source() -> None:
    with pytest.raises(AssertionError, match="no rows"):
        check_source(type("Empty", (Good,), {"__iter__": lambda self: iter(())})())


def softer(waveform: Any, rng: Any) -> Any:
    return waveform * np.float32(rng.uniform(0.5, 1.0))


def longer(waveform: Any, rng: Any) -> Any:
    return np.concatenate([waveform, waveform])


def whole_numbers(waveform: Any, rng: Any) -> Any:
    return (waveform * 32767).astype(np.int16)


def divides(waveform: Any, rng: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return waveform / np.abs(waveform).max()


def draws_elsewhere(waveform: Any, rng: Any) -> Any:
    return waveform * np.float32(np.random.uniform(0.5, 1.0))


def draws_anew(waveform: Any, rng: Any) -> Any:
    return waveform * np.float32(np.random.default_rng().uniform(0.5, 1.0))


@pytest.mark.parametrize(
    ("effect", "sentence"),
    [
        (longer, "samples, of at most"),
        (whole_numbers, "int16 of shape"),
        (divides, "NaN or infinite"),
        (draws_elsewhere, "drew from a global generator"),
        (draws_anew, "did not do the same"),
        (lambda waveform, rng: waveform * 0.5, "cannot be sent to a worker process"),
    ],
)
def test_an_effect_that_breaks_a_promise_is_told_which(effect: Any, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_augmentation(effect)


@dataclasses.dataclass(frozen=True)
class Heard:
    """A step's effect without the words for what it drew."""

    step: Step

    def __call__(self, waveform: Waveform, rng: np.random.Generator) -> Waveform:
        return self.step.effect(waveform, rng)[0]


@pytest.mark.parametrize(
    "section",
    [
        AugmentSection(speed=Speed(p=1)),
        AugmentSection(pitch=Pitch(p=1)),
        AugmentSection(gain=Gain(p=1)),
        AugmentSection(telephone=Telephone(p=1)),
        AugmentSection(noise=Noise(p=1, source=SPEECH)),
        AugmentSection(reverb=Reverb(p=1, source=SPEECH)),
        AugmentSection(custom=(softer,)),
    ],
)
def test_our_own_effects_keep_the_contract(section: AugmentSection) -> None:
    augmentation = build_augmentation(section)
    for step in augmentation.steps:
        check_augmentation(Heard(step), longest_stretch=augmentation.longest_stretch)
