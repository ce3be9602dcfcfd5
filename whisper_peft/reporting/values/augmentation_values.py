"""What augmentation did to a few utterances: words and numbers for `report.json`, clips for a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from markupsafe import Markup

from whisper_peft.reporting.pages.recordings import data_uri

TITLES = {
    "speed": "Speed",
    "pitch": "Pitch",
    "reverb": "Reverberation",
    "noise": "Noise",
    "telephone": "Telephone",
    "gain": "Gain",
    "dry": "As recorded",
    "together": "All of them, as the model hears it",
    "log_mel": "Log-mel spectrogram of that",
    "spec_augment": "SpecAugment, as the model sees it",
}
"""Headings by name; an effect of a user's own has its name for one."""


@dataclass(frozen=True, slots=True)
class EffectFigures:
    """How likely an effect is (`p`), and to how many of the rows it happened in the first epoch."""

    p: float
    happened: int


@dataclass(frozen=True, slots=True)
class ShownSound:
    """One way in which an utterance is shown.

    Attributes:
        name: `dry`, an effect by itself, `together`, or a picture alone: `log_mel` and `spec_augment`.
        told: What was drawn, such as -4.2 dB.
        duration_s: How long it lasts.
    """

    name: str
    told: str
    duration_s: float

    @property
    def title(self) -> str:
        """What it is called on a page."""
        return TITLES.get(self.name, self.name.capitalize())


@dataclass(frozen=True, slots=True)
class ShownExample:
    """An utterance, the epoch (from 0) that it was drawn for, and everything it is shown as."""

    id: str
    epoch: int
    sounds: tuple[ShownSound, ...]


@dataclass(frozen=True, slots=True)
class AugmentationRecord:
    """What augmentation did to a few utterances.

    Attributes:
        seed: Seed of all draws.
        rows: Training rows that were looked at.
        effects: Figures of each effect, by name, in the order in which they happen.
        examples: Utterances in which they happened.
        notes: What is not shown, and why.
    """

    seed: int
    rows: int
    effects: dict[str, EffectFigures] = field(default_factory=dict)
    examples: tuple[ShownExample, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)

    def text(self) -> str:
        """Return it as a few aligned lines.

        Example:
            >>> effects = {"gain": EffectFigures(0.5, 3)}
            >>> sounds = (ShownSound("dry", "", 1.0), ShownSound("gain", "+3.0 dB", 1.0))
            >>> print(AugmentationRecord(42, 8, effects, (ShownExample("a-1", 0, sounds),)).text())
            gain           p 0.5   to 3 of 8 rows in the first epoch
            a-1, epoch 1   gain: +3.0 dB
        """
        likely = [
            (name, f"p {one.p:<5g} to {one.happened} of {self.rows} rows in the first epoch")
            for name, one in self.effects.items()
        ]
        shown = [
            (f"{one.id}, epoch {one.epoch + 1}", f"{sound.name}: {sound.told}")
            for one in self.examples
            for sound in one.sounds
            if sound.told
        ]
        width = max((len(label) for label, _ in likely + shown), default=0) + 3
        return "\n".join([*(f"{label:<{width}}{text}" for label, text in likely + shown), *self.notes])


@dataclass(frozen=True, slots=True)
class SoundClip:
    """What can be heard (MP3) and seen (PNG) of a way in which an utterance is shown."""

    audio: bytes | None = None
    picture: bytes | None = None

    @property
    def audio_uri(self) -> Markup | None:
        """The sound as a data URI."""
        return None if self.audio is None else data_uri("audio/mpeg", self.audio)

    @property
    def picture_uri(self) -> Markup | None:
        """The picture as a data URI."""
        return None if self.picture is None else data_uri("image/png", self.picture)

    @property
    def size(self) -> int:
        """Bytes of both."""
        return len(self.audio or b"") + len(self.picture or b"")


SoundClips = Mapping[tuple[int, int], SoundClip]
"""By the place of the example and of the sound in it."""
