"""Word and character error rates: aligned once by jiwer, then read many times.

A rate is errors over reference units of the whole corpus, as is usual. Intervals resample utterances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import jiwer
import numpy as np
from numpy.typing import NDArray

from whisper_peft.errors import EvaluationError
from whisper_peft.evaluation.normalizers import Normalizer
from whisper_peft.evaluation.resampling import percentile_interval, resampled_rates
from whisper_peft.evaluation.units import join_characters, separate_words
from whisper_peft.types import Prediction


@dataclass(frozen=True, slots=True)
class Counts:
    """An alignment in numbers."""

    substitutions: int
    deletions: int
    insertions: int
    hits: int

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_length(self) -> int:
        """Words or characters of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors over reference length; of an empty reference, the number of insertions (as in jiwer).

        Example:
            >>> Counts(substitutions=1, deletions=0, insertions=1, hits=3).rate
            0.5
        """
        return self.errors / max(self.reference_length, 1)

    @classmethod
    def of(cls, prediction: Prediction) -> Counts:
        """Return the word counts of a scored utterance.

        Example:
            >>> Counts.of(Prediction("a-1", "a b", "a", 1.0, 0.5, 0, 1, 0, hits=1))
            Counts(substitutions=0, deletions=1, insertions=0, hits=1)
        """
        return cls(prediction.substitutions, prediction.deletions, prediction.insertions, prediction.hits)

    @classmethod
    def total(cls, parts: Iterable[Counts]) -> Counts:
        """Add up the counts of several alignments."""
        rows = [(part.substitutions, part.deletions, part.insertions, part.hits) for part in parts]
        return cls(*(sum(column) for column in zip(*rows, strict=True)))


@dataclass(frozen=True, slots=True)
class ScoredUtterance:
    """One reference and its hypothesis, raw, with the counts of the normalised words and characters."""

    reference: str
    hypothesis: str
    words: Counts
    characters: Counts


@dataclass(frozen=True, slots=True)
class Scores:
    """Error rates of a corpus, as fractions, with the counts behind them.

    `wer`, `cer`, the interval, the counts and the rows use the named normaliser; `wer_raw` and `cer_raw`
    compare the text as it is. References that are empty once normalised stay in: what was heard there counts
    as insertions.
    """

    wer: float
    cer: float
    wer_raw: float
    cer_raw: float
    wer_interval: tuple[float, float]
    normalizer: str
    words: Counts
    characters: Counts
    empty_references: int
    rows: tuple[ScoredUtterance, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How much the WER of the same utterances changed, after minus before, with its 95 % interval.

    The change is clear where the interval leaves out 0. `share_lower`: share of resamples with a lower WER.
    """

    difference: float
    interval: tuple[float, float]
    share_lower: float


def score(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    normalizer: Normalizer,
    bootstrap_samples: int = 1000,
    seed: int = 0,
) -> Scores:
    """Compare transcripts with what was said.

    Args:
        references: What was said, one text an utterance.
        hypotheses: What was recognised, in the same order.
        normalizer: Applied to both sides, except for the raw rates.
        bootstrap_samples: Resamples behind the interval.
        seed: Seed of the resampling.

    Raises:
        EvaluationError: If there is nothing to score, or the two sides differ in number.

    Example:
        >>> from whisper_peft.evaluation.normalizers import get_normalizer
        >>> scores = score(["The cat sat."], ["the hat sat"], normalizer=get_normalizer("english"))
        >>> print(f"{scores.wer:.3f} normalised, {scores.wer_raw:.3f} raw")
        0.333 normalised, 1.000 raw
    """
    _require_pairs(references, hypotheses)
    clean_references = [normalizer(text) for text in references]
    clean_hypotheses = [normalizer(text) for text in hypotheses]
    words = align_words(clean_references, clean_hypotheses)
    characters = align_characters(clean_references, clean_hypotheses)
    all_words, all_characters = Counts.total(words), Counts.total(characters)
    return Scores(
        wer=all_words.rate,
        cer=all_characters.rate,
        wer_raw=Counts.total(align_words(references, hypotheses)).rate,
        cer_raw=Counts.total(align_characters(references, hypotheses)).rate,
        wer_interval=bootstrap_interval(words, samples=bootstrap_samples, seed=seed),
        normalizer=normalizer.name,
        words=all_words,
        characters=all_characters,
        empty_references=sum(not text for text in clean_references),
        rows=tuple(map(ScoredUtterance, references, hypotheses, words, characters)),
    )


def align_words(references: Sequence[str], hypotheses: Sequence[str]) -> list[Counts]:
    """Count the word errors of each utterance; in scripts without spaces each character is a word.

    Example:
        >>> align_words(["a b c"], ["a x c d"])
        [Counts(substitutions=1, deletions=0, insertions=1, hits=2)]
        >>> align_words(["東京"], ["東 北"])
        [Counts(substitutions=1, deletions=0, insertions=0, hits=1)]
    """
    return _align(jiwer.process_words, references, hypotheses, separate_words)


def align_characters(references: Sequence[str], hypotheses: Sequence[str]) -> list[Counts]:
    """Count the character errors of each utterance; a space is a character, but in scripts without spaces.

    Example:
        >>> align_characters(["ab c"], ["abc"])
        [Counts(substitutions=0, deletions=1, insertions=0, hits=3)]
        >>> align_characters(["東京"], ["東 京"])
        [Counts(substitutions=0, deletions=0, insertions=0, hits=2)]
    """
    return _align(jiwer.process_characters, references, hypotheses, join_characters)


def bootstrap_interval(rows: Sequence[Counts], *, samples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of the corpus rate, by resampling utterances.

    Example:
        >>> bootstrap_interval([Counts(0, 0, 0, 9)] * 5)
        (0.0, 0.0)
    """
    errors, lengths = _errors_and_lengths(rows)
    return percentile_interval(resampled_rates(errors[None], lengths[None], samples, seed)[:, 0])


def paired_interval(
    before: Sequence[Counts], after: Sequence[Counts], *, samples: int = 1000, seed: int = 0
) -> PairedDifference:
    """Return the change of the rate between two systems on the same utterances.

    Each resample draws the same utterances for both, so that what is hard for both cancels out.

    Raises:
        EvaluationError: If the two were not scored on the same references.

    Example:
        >>> worse, better = [Counts(2, 0, 0, 8)] * 4, [Counts(1, 0, 0, 9)] * 4
        >>> print(f"{paired_interval(worse, better).difference:+.2f}")
        -0.10
    """
    errors_before, lengths = _errors_and_lengths(before)
    errors_after, lengths_after = _errors_and_lengths(after)
    if not np.array_equal(lengths, lengths_after):
        raise EvaluationError(
            "the two sets of scores are not of the same references",
            "a paired comparison needs the same utterances, in the same order, with the same normaliser",
            "score both systems on the same split",
        )
    errors = np.stack([errors_before, errors_after])
    rates = resampled_rates(errors, np.stack([lengths, lengths]), samples, seed)
    changes = rates[:, 1] - rates[:, 0]
    return PairedDifference(
        difference=Counts.total(after).rate - Counts.total(before).rate,
        interval=percentile_interval(changes),
        share_lower=float(np.mean(changes < 0)),
    )


def _require_pairs(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    if len(references) != len(hypotheses):
        raise EvaluationError(
            f"{len(references)} references and {len(hypotheses)} hypotheses",
            "each utterance needs one of each",
            "give two lists of the same length, in the same order",
        )
    if not references:
        raise EvaluationError(
            "there are no utterances to score", "the split is empty", "choose another data.eval"
        )


def _align(
    process: Callable[[list[str], list[str]], jiwer.WordOutput | jiwer.CharacterOutput],
    references: Sequence[str],
    hypotheses: Sequence[str],
    spaced: Callable[[str], str],
) -> list[Counts]:
    texts = [[spaced(text) for text in side] for side in (references, hypotheses)]
    return [_count(chunks) for chunks in process(*texts).alignments]


def _count(chunks: Iterable[jiwer.AlignmentChunk]) -> Counts:
    lengths = {"substitute": 0, "delete": 0, "insert": 0, "equal": 0}
    for chunk in chunks:
        reference_units = chunk.ref_end_idx - chunk.ref_start_idx
        hypothesis_units = chunk.hyp_end_idx - chunk.hyp_start_idx
        lengths[chunk.type] += max(reference_units, hypothesis_units)
    return Counts(lengths["substitute"], lengths["delete"], lengths["insert"], lengths["equal"])


def _errors_and_lengths(rows: Sequence[Counts]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    errors = np.array([row.errors for row in rows], dtype=np.int64)
    return errors, np.array([row.reference_length for row in rows], dtype=np.int64)
