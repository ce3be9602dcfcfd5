"""What a run that was stopped had scored already, so that a resumed one need not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from whisper_peft.evaluation.scoring import Counts, paired_interval
from whisper_peft.reporting.json_lines import by_utterance, read_predictions
from whisper_peft.reporting.run_report import REPORT_FILE, read_report
from whisper_peft.types import EvalResult, Prediction


@dataclass(frozen=True)
class StoredScores:
    """The scores of a report that still hold when its run is resumed.

    Attributes:
        before: The untuned model.
        after_short: The tuned model at cut context. A run that had got so far ends at the same weights again.
    """

    before: EvalResult | None = None
    after_short: EvalResult | None = None


def read_scores(folder: Path) -> StoredScores:
    """Return what the run in a folder had scored."""
    evaluation = read_report(folder).evaluation if (folder / REPORT_FILE).is_file() else None
    if evaluation is None:
        return StoredScores()
    before, predictions = evaluation.before, read_predictions(folder).before
    if before is not None and len(predictions) == before.utterances:
        before = replace(before, predictions=tuple(predictions.values()))
    else:
        before = None
    return StoredScores(before, evaluation.after_short)


def difference_interval(
    before: EvalResult | None, after: EvalResult, samples: int
) -> tuple[float, float] | None:
    """Return the 95 % interval of WER after minus before over the same utterances, if both were scored."""
    if before is None:
        return None
    first, second = by_utterance(before.predictions), by_utterance(after.predictions)
    both = [name for name in first if name in second]
    counts = [[_counts(scored[name]) for name in both] for scored in (first, second)]
    return paired_interval(*counts, samples=samples).interval


def _counts(prediction: Prediction) -> Counts:
    return Counts(prediction.substitutions, prediction.deletions, prediction.insertions, prediction.hits)
