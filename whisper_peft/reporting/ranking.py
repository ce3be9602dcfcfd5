"""Word by word: what was said beside what was written, and which utterances changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import jiwer

from whisper_peft.evaluation.units import separate_words
from whisper_peft.types import Prediction


@dataclass(frozen=True, slots=True)
class AlignedWord:
    """One step of the alignment; the side that has no word is empty."""

    kind: str
    """equal, substitute, delete or insert."""
    reference: str
    hypothesis: str


@dataclass(frozen=True, slots=True)
class Pair:
    """One utterance, scored before and after training."""

    before: Prediction
    after: Prediction

    @property
    def change(self) -> int:
        """Word errors after minus before: negative when it got better."""
        return errors(self.after) - errors(self.before)


def align(reference: str, hypothesis: str, normalize: Callable[[str], str]) -> tuple[AlignedWord, ...]:
    """Align two texts as they are scored: normalised, with the fewest word errors.

    Example:
        >>> [word.kind for word in align("press the pound key twice", "press pound keys twice now", str)]
        ['equal', 'delete', 'equal', 'substitute', 'equal', 'insert']
    """
    said, written = (separate_words(normalize(text)).split() for text in (reference, hypothesis))
    chunks = jiwer.process_words(" ".join(said), " ".join(written)).alignments[0]
    return tuple(
        word
        for chunk in chunks
        for word in _words(
            chunk.type,
            said[chunk.ref_start_idx : chunk.ref_end_idx],
            written[chunk.hyp_start_idx : chunk.hyp_end_idx],
        )
    )


def errors(prediction: Prediction) -> int:
    """Return the word errors of an utterance."""
    return prediction.substitutions + prediction.deletions + prediction.insertions


def worst(predictions: Mapping[str, Prediction], most: int) -> tuple[Prediction, ...]:
    """Return the utterances with the most word errors, the higher WER first among equals."""
    wrong = [prediction for prediction in predictions.values() if errors(prediction)]
    ranked = sorted(wrong, key=lambda prediction: (-errors(prediction), -prediction.wer, prediction.id))
    return tuple(ranked[:most])


def pairs(before: Mapping[str, Prediction], after: Mapping[str, Prediction]) -> tuple[Pair, ...]:
    """Return the utterances that were scored both times, the most improved first."""
    both = (Pair(before[name], after[name]) for name in before if name in after)
    return tuple(sorted(both, key=lambda pair: (pair.change, -pair.before.wer, pair.before.id)))


def _words(kind: str, said: list[str], written: list[str]) -> Iterator[AlignedWord]:
    longest = max(len(said), len(written))
    for reference, hypothesis in zip(_pad(said, longest), _pad(written, longest), strict=True):
        yield AlignedWord(kind, reference, hypothesis)


def _pad(words: list[str], length: int) -> list[str]:
    return words + [""] * (length - len(words))
