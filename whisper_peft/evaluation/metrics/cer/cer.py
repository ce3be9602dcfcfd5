"""Character error rate of a corpus, with Whisper's text normalisers, for `evaluate.load`."""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import evaluate

from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.scoring import Counts, align_characters

INPUTS = """
Args:
    predictions: Transcripts to score.
    references: What was said, in the same order.
    normalizer: auto, english, basic, marks or none.
    language: Language of the transcripts, for auto; None is English.
Returns:
    Errors over reference characters, a fraction.
"""


class CharacterErrorRate(evaluate.Metric):  # type: ignore[misc]
    """Substitutions, deletions and insertions over the number of reference characters."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=self.__doc__ or "",
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[str],
        normalizer: str = "auto",
        language: str | None = None,
    ) -> float:
        clean = get_normalizer(normalizer, language)
        return Counts.total(align_characters([*map(clean, references)], [*map(clean, predictions)])).rate
