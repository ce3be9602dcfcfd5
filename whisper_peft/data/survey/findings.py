"""What a look through speech found: the values that `inspect` returns and reports are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from whisper_peft.data.survey.sketches import Distribution

Action: TypeAlias = Literal["drop", "check"]
"""drop: nothing is to be learned from the row, or it spoils a score. check: hear it, then decide."""

ACTIONS: Mapping[str, tuple[Action, str]] = {
    "empty-text": ("drop", "there is no transcript"),
    "too-short": ("drop", "shorter than data.min_duration_s"),
    "too-long": ("drop", "longer than data.max_duration_s"),
    "label-too-long": ("drop", "more tokens than the decoder has positions (448)"),
    "leaked-audio": ("drop", "the same recording lies in a split that is scored"),
    "repeated-audio": ("drop", "the same recording and text come earlier in the split"),
    "impossible-rate": ("drop", "nobody speaks so fast or so slowly"),
    "not-as-heard": ("drop", "the model hears other words"),
    "nearly-same-audio": ("check", "an earlier recording at another loudness or in another coding"),
    "nearly-scored-text": ("check", "nearly the words of a row that is scored"),
    "two-texts": ("check", "the same recording has another text elsewhere"),
    "unusual-rate": ("check", "spoken far faster or slower than like texts of this corpus"),
    "hard-to-hear": ("check", "the model finds the text far less likely than other texts of this corpus"),
    "other-script": ("check", "written in another script than the rest"),
    "mixed-script": ("check", "letters of two alphabets in one word"),
    "clipped": ("check", "the loudest samples are cut off"),
    "offset": ("check", "all samples lie beside zero, as from a recorder with a fault"),
    "noisy": ("check", "noise is nearly as loud as the speech"),
    "mostly-silent": ("check", "hardly any of the recording is loud enough for speech"),
}
"""Reasons why a row stands out, the gravest first, and what to do. Others are those of decoding: drop."""

UNREADABLE = ("drop", "the recording cannot be used")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a row stands out: a short name that reports count by, and what was seen."""

    name: str
    detail: str

    @property
    def action(self) -> Action:
        """What to do with the row."""
        return "check" if ACTIONS.get(self.name, UNREADABLE)[0] == "check" else "drop"


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row to drop or to check.

    Attributes:
        audio: Path of the recording; its id where it lies inside an archive or in memory.
        heard: What a model wrote, where one listened.
    """

    id: str
    split: str
    audio: str
    text: str
    reasons: tuple[Reason, ...]
    duration_s: float | None = None
    start_s: float = 0.0
    end_s: float | None = None
    speaker_id: str | None = None
    language: str | None = None
    heard: str | None = None

    @property
    def action(self) -> Action:
        """What to do: to drop it where any reason says so."""
        return "drop" if any(reason.action == "drop" for reason in self.reasons) else "check"


@dataclass(frozen=True, slots=True)
class SplitFigures:
    """How much speech a split holds. `speakers` is None where rows name none."""

    name: str
    rows: int
    usable: int
    hours: float
    speakers: int | None
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leak:
    """Rows of a split whose audio, sentence or speaker also lies in another one, maybe of another source."""

    by: Literal["audio", "sentence", "speaker"]
    split: str
    other: str
    rows: int
    share: float


@dataclass(frozen=True, slots=True)
class TextFigures:
    """How the transcripts are written. Shares are of the rows, those of scripts too."""

    style: str
    punctuation_share: float
    digits_share: float
    scripts: dict[str, float]
    rare_signs: dict[str, int]
    """Signs of fewer than one row in a thousand, with their rows: often leftovers of markup."""
    repeated_sentences: int
    """Rows whose sentence came earlier in the same split."""


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """Decoder positions that the texts take, by the tokenizer of a model."""

    model: str
    tokens: Distribution
    too_long: int


@dataclass(frozen=True, slots=True)
class AudioFigures:
    """What the recordings are, by their headers, and how good, where they were decoded.

    Attributes:
        silence_share: Of each recording; so are
        clipping_share: and
        snr_db: All are None where nothing was decoded.
        repeated: Rows whose recording came earlier in the same split.
    """

    durations_s: Distribution | None
    letters_per_second: Distribution | None
    formats: dict[str, int]
    sampling_rates: dict[str, int]
    channels: dict[str, int]
    repeated: int
    silence_share: Distribution | None = None
    clipping_share: Distribution | None = None
    snr_db: Distribution | None = None


@dataclass(frozen=True, slots=True)
class ListeningFigures:
    """What a model made of the rows that it heard: nats per token of the given text, and WER of its own."""

    model: str
    rows: int
    loss: Distribution | None
    wer: Distribution | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What lies at a source, how good it is, and which rows to drop or to check.

    Attributes:
        what: What it is and how many splits there are, in one line.
        command: What to type to learn from it; None for what is in memory.
        rows: Rows that were looked at, and
        rows_there: that there are; None where only reading a stream to its end would tell.
        decoded: Recordings that were decoded, not only their headers read.
        refused: Rows that cannot be learned from, by reason.
        concerns: Rows that stand out, by reason, all of them.
        suspects: Those of them that are listed, at most some hundreds a reason.
        notes: What was cut short or estimated.
        name: Name of a source that is mixed in; None of the main one.
        mixed: The same of each source that is mixed in. What splits of two sources share is told of the
            scored one.
    """

    source: str
    what: str
    command: str | None
    rows: int
    rows_there: int | None
    decoded: int
    splits: tuple[SplitFigures, ...]
    audio: AudioFigures
    text: TextFigures
    labels: LabelFigures | None
    leaks: tuple[Leak, ...]
    refused: dict[str, int]
    concerns: dict[str, int]
    suspects: tuple[Suspect, ...] = field(repr=False)
    listening: ListeningFigures | None = None
    notes: tuple[str, ...] = ()
    name: str | None = None
    mixed: tuple[Inspection, ...] = ()

    @property
    def all_sources(self) -> tuple[Inspection, ...]:
        """The main source and those that are mixed in."""
        return (self, *self.mixed)

    @property
    def hours(self) -> float:
        """Speech that can be learned from, in all splits."""
        return sum(split.hours for split in self.splits)

    @property
    def utterances(self) -> int:
        """Rows that can be learned from, in all splits."""
        return sum(split.usable for split in self.splits)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        counted = {"hours": self.hours, "utterances": self.utterances}
        return {**asdict(self), **counted, "mixed": [one.to_dict() for one in self.mixed]}
