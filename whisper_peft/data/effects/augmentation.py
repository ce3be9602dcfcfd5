"""Chains of effects that may happen to an utterance before the model hears it.

An effect is any callable `(waveform, rng) -> waveform`. Whether it happens and what it draws comes from a
generator of its own, named after it: switching one effect on changes no draw of another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from whisper_peft.data.effects.recordings import (
    RecordingFolder,
    open_recordings,
    read_first_channel,
    read_mixed_down,
)
from whisper_peft.data.effects.telephone import telephone
from whisper_peft.data.effects.waveform_effects import (
    add_noise,
    change_gain,
    change_speed,
    draw_stretch,
    reverberate,
    shift_pitch,
)
from whisper_peft.data.randomness import named_rng
from whisper_peft.errors import RecipeError
from whisper_peft.recipe.plug_ins import find_plug_in
from whisper_peft.recipe.sections import AugmentSection, Gain, Noise, Pitch, Reverb, Speed, Telephone
from whisper_peft.types import Utterance, Waveform

Effect: TypeAlias = Callable[[Waveform, np.random.Generator], Waveform]
"""Returns a new waveform at 16 kHz; draws from the given generator only."""

ToldEffect: TypeAlias = Callable[[Waveform, np.random.Generator], tuple[Waveform, str]]
"""The same, and what was drawn in a few words, such as 1.1 times as fast."""


@dataclass(frozen=True, slots=True)
class Step:
    """An effect, its name and the probability that it happens."""

    name: str
    p: float
    effect: ToldEffect


@dataclass(frozen=True, slots=True)
class Change:
    """What an effect did to an utterance: its name, what it drew, and how the utterance sounds after it."""

    name: str
    told: str
    waveform: Waveform


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Effects in order. Without any, an utterance passes through as the very same object.

    Example:
        >>> tone = Utterance("a", np.ones(1600, np.float32), "", sampling_rate=16_000)
        >>> louder = build_augmentation(AugmentSection(gain=Gain(p=1, gain_db=(-6, -6))))
        >>> louder(tone, np.random.default_rng(0)).waveform[:2].round(2)
        array([0.5, 0.5], dtype=float32)
    """

    steps: tuple[Step, ...]
    longest_stretch: float = 1.0
    """By how much an utterance may grow, at least 1."""

    def __call__(self, utterance: Utterance, rng: np.random.Generator) -> Utterance:
        """Return the utterance as the model is to hear it, with the utterance's own generator."""
        waveform = dry = utterance.waveform
        for change in self.changes(waveform, rng):
            waveform = change.waveform
        return utterance if waveform is dry else utterance.with_audio(waveform)

    def changes(self, waveform: Waveform, rng: np.random.Generator) -> Iterator[Change]:
        """Yield what each effect that happens makes of what the ones before it left."""
        entropy = rng.bytes(16)
        for step in self.steps:
            own_rng = named_rng(entropy, step.name)
            if own_rng.random() < step.p:
                waveform, told = step.effect(waveform, own_rng)
                yield Change(step.name, told, waveform)

    def happening(self, rng: np.random.Generator) -> tuple[str, ...]:
        """Return the names of the effects that happen to an utterance, without making them happen."""
        entropy = rng.bytes(16)
        return tuple(step.name for step in self.steps if named_rng(entropy, step.name).random() < step.p)

    def alone(self, name: str) -> Augmentation:
        """Return one of the effects by itself; what it draws for an utterance stays the same."""
        return Augmentation(tuple(step for step in self.steps if step.name == name), self.longest_stretch)


def build_augmentation(section: AugmentSection) -> Augmentation:
    """Return the augmentation that a recipe's section describes, its folders opened and checked.

    Raises:
        RecipeError: If a range is upside down, a folder is missing from the recipe, or a custom effect cannot
            be imported.
        DataError: If a folder is empty or holds a recording that cannot be read.

    Example:
        >>> build_augmentation(AugmentSection(speed=Speed(p=0.5))).longest_stretch.__round__(2)
        1.11
    """
    steps = [
        Step(name, part.p, build(part))
        for name, build in _BUILDERS.items()
        if (part := getattr(section, name)).p > 0
    ]
    steps += [
        Step(f"custom {place}", 1.0, _Custom(_find_custom(effect), place))
        for place, effect in enumerate(section.custom)
    ]
    slowest = min(section.speed.factors) if section.speed.p > 0 else 1.0
    return Augmentation(tuple(steps), longest_stretch=max(1.0, 1 / slowest))


@dataclass(frozen=True, slots=True)
class _Noise:
    folder: RecordingFolder
    snr_db: tuple[float, float]

    def __call__(self, waveform: Waveform, rng: np.random.Generator) -> tuple[Waveform, str]:
        file = self.folder.draw_path(rng)
        noise = draw_stretch(self.folder[file], len(waveform), rng)
        snr_db = rng.uniform(*self.snr_db)
        return add_noise(waveform, noise, snr_db), f"{file.name} at an SNR of {snr_db:.1f} dB"


@dataclass(frozen=True, slots=True)
class _Reverb:
    folder: RecordingFolder

    def __call__(self, waveform: Waveform, rng: np.random.Generator) -> tuple[Waveform, str]:
        file = self.folder.draw_path(rng)
        return reverberate(waveform, self.folder[file]), f"the room of {file.name}"


@dataclass(frozen=True, slots=True)
class _Choice:
    """An effect with one argument, chosen from a few."""

    effect: Callable[[Waveform, Any], Waveform]
    choices: tuple[Any, ...]
    told: str

    def __call__(self, waveform: Waveform, rng: np.random.Generator) -> tuple[Waveform, str]:
        chosen = self.choices[rng.integers(len(self.choices))]
        return self.effect(waveform, chosen), self.told.format(chosen)


@dataclass(frozen=True, slots=True)
class _Uniform:
    """An effect with one argument, drawn from a range."""

    effect: Callable[[Waveform, float], Waveform]
    limits: tuple[float, float]
    told: str

    def __call__(self, waveform: Waveform, rng: np.random.Generator) -> tuple[Waveform, str]:
        drawn = rng.uniform(*self.limits)
        return self.effect(waveform, drawn), self.told.format(drawn)


@dataclass(frozen=True, slots=True)
class _Custom:
    """A user's effect, given a copy and held to what every effect promises."""

    effect: Effect
    place: int

    def __call__(self, waveform: Waveform, rng: np.random.Generator) -> tuple[Waveform, str]:
        returned = np.asarray(self.effect(waveform.copy(), rng))
        if returned.ndim != 1 or returned.dtype.kind != "f":
            raise self._refusal(f"{returned.dtype} of shape {returned.shape}", "one axis of floats is needed")
        if not 0 < len(returned) <= len(waveform):
            raise self._refusal(
                f"{len(returned)} samples for {len(waveform)}", "an effect may shorten but not lengthen"
            )
        if not np.isfinite(returned).all():
            raise self._refusal("NaN or infinite samples", "the loss would be NaN")
        return returned.astype(np.float32, copy=False), "an effect of your own"

    def _refusal(self, what: str, why: str) -> RecipeError:
        return RecipeError(f"augment.custom[{self.place}] returned {what}", why, "mend it, or leave it out")


def _build_speed(part: Speed) -> ToldEffect:
    if not part.factors or not all(math.isfinite(factor) and factor > 0 for factor in part.factors):
        raise RecipeError(
            f"augment.speed.factors is {part.factors}", "factors are above 0", "give some, such as [0.9, 1.1]"
        )
    return _Choice(change_speed, part.factors, "{:g} times as fast")


def _build_pitch(part: Pitch) -> ToldEffect:
    return _Uniform(shift_pitch, _range("augment.pitch.semitones", part.semitones), "{:+.1f} semitones")


def _build_reverb(part: Reverb) -> ToldEffect:
    return _Reverb(open_recordings(part.source, "augment.reverb.source", read_first_channel))


def _build_noise(part: Noise) -> ToldEffect:
    snr_db = _range("augment.noise.snr_db", part.snr_db)
    return _Noise(open_recordings(part.source, "augment.noise.source", read_mixed_down), snr_db)


def _build_telephone(part: Telephone) -> ToldEffect:
    if not part.codecs:
        raise RecipeError("augment.telephone.codecs is empty", "there is none to choose", "name one, or none")
    return _Choice(telephone, part.codecs, "codec {}")


def _build_gain(part: Gain) -> ToldEffect:
    return _Uniform(change_gain, _range("augment.gain.gain_db", part.gain_db), "{:+.1f} dB")


def _find_custom(effect: Any) -> Effect:
    found: Effect = find_plug_in(effect, "augmentations", field="augment.custom")
    return found


_BUILDERS: dict[str, Callable[[Any], ToldEffect]] = {
    "speed": _build_speed,
    "pitch": _build_pitch,
    "reverb": _build_reverb,
    "noise": _build_noise,
    "telephone": _build_telephone,
    "gain": _build_gain,
}
"""In the order in which they happen, which is that of `AugmentSection`."""


def _range(setting: str, limits: tuple[float, float]) -> tuple[float, float]:
    if not (all(map(math.isfinite, limits)) and limits[0] <= limits[1]):
        raise RecipeError(
            f"{setting} is {list(limits)}", "a range is lowest, highest", "swap or mend the two"
        )
    return limits
