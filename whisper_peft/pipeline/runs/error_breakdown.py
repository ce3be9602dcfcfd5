"""The errors of a run by kind, from what lies in its folder, so that `report` can make them again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from whisper_peft.evaluation.error_analysis.breakdown import break_down
from whisper_peft.evaluation.error_analysis.groups import Scored, scored_alike
from whisper_peft.evaluation.error_analysis.rates import Resampling
from whisper_peft.evaluation.error_analysis.training_words import count_training_words, scored_words
from whisper_peft.evaluation.error_analysis.values import Breakdown
from whisper_peft.evaluation.normalizers import Normalizer, get_normalizer
from whisper_peft.pipeline.runs.run_folder import write_predictions
from whisper_peft.pipeline.runs.speech import TrainingRows
from whisper_peft.reporting.json_lines import read_predictions
from whisper_peft.reporting.pages.inspection_page import SUSPECTS_FILE, suspects_csv
from whisper_peft.reporting.run_report import EvaluationRecord, write_text
from whisper_peft.types import EvalResult

TRAINING_WORDS_FILE = "training_words.json"


def write_scored(
    folder: Path, record: EvaluationRecord, rows: TrainingRows, samples: int
) -> EvaluationRecord:
    """Write what was scored, and rows to check, into a run folder; return the record with the errors by kind.

    Args:
        folder: The run folder.
        record: What was scored, with predictions.
        rows: What is learned.
        samples: Resamples behind each interval.
    """
    write_predictions(folder, record)
    latest = record.after or record.before
    if latest is not None:
        write_training_words(folder, rows, latest)
    if rows.suspects:
        write_text(folder / SUSPECTS_FILE, suspects_csv(rows.suspects))
    return record.model_copy(update={"breakdown": break_down_run(folder, record, samples)})


def break_down_run(folder: Path, evaluation: EvaluationRecord, samples: int) -> Breakdown | None:
    """Return the errors of a run by kind, from its predictions; None where it has none.

    Args:
        folder: The run folder.
        evaluation: What was scored.
        samples: Resamples behind each interval.
    """
    latest = evaluation.after or evaluation.before
    scored = _scored(folder)
    if latest is None or not scored.predictions:
        return None
    return break_down(
        scored,
        normalize=normalizer_of(latest),
        sources={name: found for name in latest.sources if (found := _scored(folder, name)).predictions},
        training_words=_read_training_words(folder),
        resampling=Resampling(samples),
    )


def write_training_words(folder: Path, rows: TrainingRows, scored: EvalResult) -> None:
    """Write how often the scored words stand in the training text; of a stream nobody knows before it passed.

    Args:
        folder: The run folder.
        rows: What is learned.
        scored: A result with its predictions.
    """
    checks = [rows.check, *(one.check for one in rows.mixed)]
    if any(check is None for check in checks):
        return
    normalize = normalizer_of(scored)
    wanted = scored_words((one.reference for one in scored.predictions), normalize)
    texts: Iterable[str] = (row.text for check in checks if check is not None for row in check.kept)
    counts = count_training_words(texts, sorted(wanted), normalize)
    write_text(folder / TRAINING_WORDS_FILE, json.dumps(counts, ensure_ascii=False, indent=0) + "\n")


def normalizer_of(scored: EvalResult) -> Normalizer:
    """Return the normaliser that something was scored with."""
    return get_normalizer(scored.normalizer, scored.language)


def _scored(folder: Path, source: str | None = None) -> Scored:
    predictions = read_predictions(folder, source)
    return scored_alike(predictions.before, predictions.after)


def _read_training_words(folder: Path) -> dict[str, int] | None:
    path = folder / TRAINING_WORDS_FILE
    if not path.is_file():
        return None
    counts: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    return counts
