"""What was heard for the health of a run: values, without any model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from whisper_peft.types import Prediction


@dataclass(frozen=True, slots=True)
class Sound:
    """What a model wrote for a clip in which nobody speaks.

    Attributes:
        kind: silence, noise or music; recording where the clips are somebody's own.
        text: What was written.
        passes: Whether Whisper's own rule for silent windows lets it through.
        no_speech_probability: How probable the model holds it that nobody speaks.
    """

    kind: str
    text: str
    passes: bool
    no_speech_probability: float

    @property
    def words(self) -> int:
        """Words that white space separates."""
        return len(self.text.split())


@dataclass(frozen=True, slots=True)
class ExpectedTimestamp:
    """What a model holds of the timestamp where an utterance ends, all before it being given.

    Attributes:
        probability: Of any timestamp, rather than more text.
        distance_s: How far the timestamps lie from the right one, on average by their probabilities.
    """

    probability: float
    distance_s: float


@dataclass(frozen=True, slots=True)
class TimedWindow:
    """Timestamps that were written, without rules, for utterances joined to a window.

    Attributes:
        stamps: How many were written after the first, which is given.
        well_formed: Whether they come in pairs around text and in order.
        distances_s: How far the nearest one is from each place where utterances were joined.
        expected: What the model holds of one where each utterance ends.
    """

    stamps: int
    well_formed: bool
    distances_s: tuple[float, ...]
    expected: tuple[ExpectedTimestamp, ...] = ()


@dataclass(frozen=True, slots=True)
class JoinedUtterance:
    """An utterance that was heard as a part of a long recording: its word errors, and its words."""

    id: str
    errors: int
    words: int


@dataclass(frozen=True, slots=True)
class Hearing:
    """What one model wrote for the material of a health check.

    Attributes:
        retention: Scored utterances of other speech, by its name.
        sounds: Clips in which nobody speaks.
        windows: Joined utterances of the scored split.
        joined: Utterances of long recordings.
    """

    retention: Mapping[str, tuple[Prediction, ...]] = field(default_factory=dict)
    sounds: tuple[Sound, ...] = ()
    windows: tuple[TimedWindow, ...] = ()
    joined: tuple[JoinedUtterance, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """The language that transcripts look like, and how alike they are to the expected one, from 0 to 1."""

    code: str
    likeness: float


@dataclass(frozen=True, slots=True)
class Pair:
    """The same utterances as both models wrote them down, in the same order.

    Attributes:
        name: What speech it is.
        normalizer: Of the text that was compared.
        learned: Share of an epoch that was of the same source; 0 where none was.
        written: Languages of transcripts before and after, as their words tell; None where they cannot.
    """

    name: str
    before: tuple[Prediction, ...]
    after: tuple[Prediction, ...]
    normalizer: str
    learned: float = 0.0
    written: tuple[Written, Written] | None = None

    @property
    def language(self) -> str | None:
        """Language that is spoken, where all speak the same."""
        found = {one.language for one in self.after}
        return next(iter(found)) if len(found) == 1 else None
