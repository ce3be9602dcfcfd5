"""What the error analysis measures, as it stands in `report.json`. Fractions inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of errors with its 95 % interval, resampled over utterances.

    Attributes:
        value: Errors over units.
        interval: Low and high.
        units: What the errors are counted against, where that is not `units` of the slice.
    """

    value: float
    interval: tuple[float, float]
    units: int | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """Utterances or words of one kind, and the share of them that was written wrongly.

    Attributes:
        name: The kind, such as `2 to 5 s`.
        utterances: Utterances that have any of it.
        units: What the errors are counted against, of the side that was scored last: words, or what
            `Breakdown` says of the dimension. The other side has its own, where it wrote other marks.
        before: The untuned model; None where it was not scored. So for `after`, the tuned one.
        change: 95 % interval of after minus before, over the same utterances.
    """

    name: str
    utterances: int
    units: int
    before: Rate | None = None
    after: Rate | None = None
    change: tuple[float, float] | None = None

    @property
    def has_own_units(self) -> bool:
        """Whether the sides are counted against different numbers, as of the marks that each wrote.

        Example:
            >>> sides = [Rate(0.1, (0.0, 0.2), units) for units in (11, None)]
            >>> Slice("marks added", 49, 52, *sides).has_own_units, Slice("loud", 9, 40).has_own_units
            (True, False)
        """
        return any(side is not None and side.units is not None for side in (self.before, self.after))


@dataclass(frozen=True, slots=True)
class Confusion:
    """What was said, what was written instead, and how often; either is empty where a word has none.

    `before` and `after` are None where that model was not scored.
    """

    reference: str
    hypothesis: str
    before: int | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True)
class ConfidenceBin:
    """Transcripts of about the same confidence: how sure the model was, and how many words were right.

    `words` are those that it wrote; `right` is the share of them that are right, so that added words count.
    """

    name: str
    utterances: int
    words: int
    confidence: float
    right: Rate
    wer: Rate


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether confidence can be believed.

    `error` is the expected calibration error: the distance of confidence from the share of right words, over
    the bins, weighted by their words (Naeini, Cooper and Hauskrecht, 2015).
    """

    error: float
    bins: tuple[ConfidenceBin, ...]


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The errors of a scored split, by kind, before beside after.

    Attributes:
        slices: By dimension. WER: `duration`, `snr`, `speaking_rate`, `position`, `speaker`, `language`,
            `source`. Share of the words that were not written as said: `rarity`, `kind`. Share of the words
            that are right but for their case, or of the marks: `writing`.
        confusions: The commonest, under `substituted`, `left_out`, `added` and `characters`.
        calibration: Under `before` and `after`.
        not_measured: Why a dimension has no slices.
    """

    slices: Mapping[str, tuple[Slice, ...]]
    confusions: Mapping[str, tuple[Confusion, ...]]
    calibration: Mapping[str, Calibration]
    not_measured: Mapping[str, str] = field(default_factory=dict)
