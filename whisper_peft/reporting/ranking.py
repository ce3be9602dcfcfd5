"""Which utterances have the most errors, and which changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from whisper_peft.types import Prediction


@dataclass(frozen=True, slots=True)
class Pair:
    """One utterance, scored before and after training."""

    before: Prediction
    after: Prediction

    @property
    def change(self) -> int:
        """Word errors after minus before: negative when it got better."""
        return errors(self.after) - errors(self.before)


def errors(prediction: Prediction) -> int:
    """Return the word errors of an utterance."""
    return prediction.substitutions + prediction.deletions + prediction.insertions


def by_errors(predictions: Mapping[str, Prediction]) -> list[str]:
    """Return the names of utterances, the most word errors first, and among equals the higher WER."""
    return sorted(predictions, key=lambda name: (-errors(predictions[name]), -predictions[name].wer, name))


def pairs(before: Mapping[str, Prediction], after: Mapping[str, Prediction]) -> tuple[Pair, ...]:
    """Return the utterances that were scored both times, the most improved first."""
    both = (Pair(before[name], after[name]) for name in before if name in after)
    return tuple(sorted(both, key=lambda pair: (pair.change, -pair.before.wer, pair.before.id)))
