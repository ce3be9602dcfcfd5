"""What a run that was stopped had scored already, so that a resumed one need not."""

from __future__ import annotations

from collections.abc import Mapping
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
    main = read_predictions(folder)
    before = _with_predictions(evaluation.before, main.before)
    short = _with_predictions(evaluation.after_short, main.after_short)
    if before is None:
        return StoredScores(None, short)
    sources = {
        name: _with_predictions(one, read_predictions(folder, name).before)
        for name, one in before.sources.items()
    }
    found = {name: one for name, one in sources.items() if one is not None}
    return StoredScores(replace(before, sources=found), short)


def _with_predictions(result: EvalResult | None, predictions: Mapping[str, Prediction]) -> EvalResult | None:
    """Return a result of a report with its predictions; None where they are not all there."""
    if result is None or len(predictions) != result.utterances:
        return None
    return replace(result, predictions=tuple(predictions.values()))


def difference_interval(
    before: EvalResult | None, after: EvalResult, samples: int
) -> tuple[float, float] | None:
    """Return the 95 % interval of WER after minus before over the same utterances, if both were scored."""
    if before is None:
        return None
    first, second = by_utterance(before.predictions), by_utterance(after.predictions)
    both = [name for name in first if name in second]
    counts = [[Counts.of(scored[name]) for name in both] for scored in (first, second)]
    return paired_interval(*counts, samples=samples).interval


def source_difference_intervals(
    before: EvalResult | None, after: EvalResult, samples: int
) -> dict[str, tuple[float, float]]:
    """Return the same of each source that was mixed in, by its name."""
    scored = before.sources if before is not None else {}
    both = [name for name in after.sources if name in scored]
    found = {name: difference_interval(scored[name], after.sources[name], samples) for name in both}
    return {name: interval for name, interval in found.items() if interval is not None}
