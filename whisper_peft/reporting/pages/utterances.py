"""Every scored utterance, word by word, before beside after, in an order that says where to look first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from whisper_peft.evaluation.error_analysis.alignment import AlignedWord, align
from whisper_peft.evaluation.error_analysis.calibration import confidence
from whisper_peft.reporting.json_lines import Predictions
from whisper_peft.reporting.ranking import by_errors, errors, pairs
from whisper_peft.types import Prediction

MOST_LISTED = 500
"""Utterances on a page; the others are in `predictions.jsonl`."""

MOST_LINKED = 8
"""Utterances in the lists of those that changed most."""


@dataclass(frozen=True, slots=True)
class ShownTranscript:
    """One transcript of an utterance, beside what was said; `when` is before or after training."""

    when: str
    prediction: Prediction
    words: tuple[AlignedWord, ...]

    @property
    def told(self) -> str:
        """The word errors in words, as colours alone tell nobody who does not see them."""
        one = self.prediction
        counts = ((one.substitutions, "substituted"), (one.deletions, "left out"), (one.insertions, "added"))
        return ", ".join(f"{count} {name}" for count, name in counts if count) or "no word errors"


@dataclass(frozen=True, slots=True)
class ShownUtterance:
    """An utterance on the page.

    Attributes:
        name: Its id, numbered where the split repeats it.
        anchor: What links lead to.
        transcripts: Before, after or both.
    """

    name: str
    anchor: str
    transcripts: tuple[ShownTranscript, ...]

    @property
    def latest(self) -> Prediction:
        """The prediction that was scored last."""
        return self.transcripts[-1].prediction

    @property
    def confidence(self) -> float | None:
        """How sure the model was that was scored last."""
        return confidence(self.latest)

    @property
    def errors(self) -> int:
        """Word errors of the transcript that was scored last."""
        return errors(self.latest)

    @property
    def change(self) -> int:
        """Word errors after minus before; 0 where it was scored once."""
        return self.errors - errors(self.transcripts[0].prediction)

    @property
    def is_flawless(self) -> bool:
        """Whether no transcript has a word error."""
        return not any(errors(one.prediction) for one in self.transcripts)

    @property
    def kinds(self) -> str:
        """What a list can be filtered by, as words."""
        one = self.latest
        told = {
            "wrong": self.errors,
            "substituted": one.substitutions,
            "left-out": one.deletions,
            "added": one.insertions,
            "better": self.change < 0,
            "worse": self.change > 0,
            "looping": one.looping,
        }
        return " ".join(name for name, is_so in told.items() if is_so)


@dataclass(frozen=True, slots=True)
class Changed:
    """A list of utterances that changed most."""

    title: str
    caption: str
    utterances: tuple[ShownUtterance, ...]


def shown_utterances(predictions: Predictions, normalize: Callable[[str], str]) -> tuple[ShownUtterance, ...]:
    """Return the utterances of a page, those with the most word errors first."""
    latest = predictions.after or predictions.before
    return tuple(
        _shown(name, place, predictions, normalize)
        for place, name in enumerate(by_errors(latest)[:MOST_LISTED])
    )


def changed_most(utterances: tuple[ShownUtterance, ...], predictions: Predictions) -> tuple[Changed, ...]:
    """Return the most improved and the most worsened of the utterances on the page."""
    paired = pairs(predictions.before, predictions.after)
    better = sum(pair.change < 0 for pair in paired)
    worse = sum(pair.change > 0 for pair in paired)
    same = len(paired) - better - worse
    ranked = sorted(utterances, key=lambda one: (one.change, one.anchor))
    lists = (
        Changed(
            "Most improved",
            f"Of {len(paired)} utterances, {better} have fewer word errors than before, {same} as many.",
            tuple(one for one in ranked if one.change < 0)[:MOST_LINKED],
        ),
        Changed(
            "Most worsened",
            f"Of {len(paired)} utterances, {worse} have more word errors than before.",
            tuple(one for one in reversed(ranked) if one.change > 0)[:MOST_LINKED],
        ),
    )
    return tuple(one for one in lists if one.utterances)


def _shown(
    name: str, place: int, predictions: Predictions, normalize: Callable[[str], str]
) -> ShownUtterance:
    times = {"before": predictions.before.get(name), "after": predictions.after.get(name)}
    return ShownUtterance(
        name,
        f"utterance-{place + 1}",
        tuple(
            ShownTranscript(when, one, align(one.reference, one.hypothesis, normalize))
            for when, one in times.items()
            if one is not None
        ),
    )
