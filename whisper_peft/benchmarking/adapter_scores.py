"""WER of both sides on the same utterances, by one evaluator, and the paired interval of their difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from whisper_peft.benchmarking.comparison import AdapterScores
from whisper_peft.benchmarking.our_side import utterance
from whisper_peft.benchmarking.preparation import Preparation
from whisper_peft.evaluation.evaluator import evaluate_utterances
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.scoring import Counts, paired_interval, score
from whisper_peft.model.loading import load_run_or_model
from whisper_peft.types import EvalResult

CONTEXTS: tuple[Literal["full", "cut"], ...] = ("full", "cut")


def score_adapters(prepared: Preparation, adapters: Mapping[str, str]) -> dict[str, AdapterScores]:
    """Return the WER of both adapters at each audio context.

    Args:
        prepared: The rows to score, and the base model.
        adapters: Folder of the adapter, by side.
    """
    base = prepared.recipe.model.model_copy(update={"name": str(prepared.model)})
    scored: dict[tuple[str, str], EvalResult] = {}
    for side, folder in adapters.items():
        whisper = load_run_or_model(folder, base)
        for context in CONTEXTS:
            scored[side, context] = evaluate_utterances(
                whisper,
                [utterance(row) for row in prepared.eval],
                section=prepared.recipe.eval.model_copy(
                    update={"audio_context": context, "max_utterances": None}
                ),
                language=base.language,
                task=base.task,
            )
    return {
        context: _compare(
            [[Counts.of(row) for row in scored[side, context].predictions] for side in ("reference", "ours")],
            scored["ours", context].normalizer,
            prepared.recipe.eval.bootstrap_samples,
        )
        for context in CONTEXTS
    }


def score_hypotheses(prepared: Preparation, reference: Sequence[str], ours: Sequence[str]) -> AdapterScores:
    """Return the WER of two lists of transcripts of the rows to score."""
    section = prepared.recipe.eval
    languages = {row.language for row in prepared.eval}
    language = (languages.pop() or "en") if len(languages) == 1 else "several"
    normalizer = get_normalizer(section.normalizer, language)
    texts = [row.text for row in prepared.eval]
    scored = [
        score(texts, list(side), normalizer=normalizer, bootstrap_samples=section.bootstrap_samples)
        for side in (reference, ours)
    ]
    counts = [[row.words for row in scores.rows] for scores in scored]
    return _compare(counts, normalizer.name, section.bootstrap_samples)


def _compare(counts: Sequence[Sequence[Counts]], normalizer: str, samples: int) -> AdapterScores:
    reference, ours = counts
    paired = paired_interval(reference, ours, samples=samples)
    return AdapterScores(
        reference_wer=Counts.total(reference).rate,
        ours_wer=Counts.total(ours).rate,
        difference=paired.difference,
        interval=paired.interval,
        utterances=len(reference),
        normalizer=normalizer,
    )
