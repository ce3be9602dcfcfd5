"""What a run wrote line by line, its log and its predictions; a torn last line is no reason to fail."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from whisper_peft.reporting.values.curve_values import Column, Curve, TrainingCurves
from whisper_peft.types import Prediction

LOG_FILE = "log.jsonl"
PREDICTIONS_FILE = "predictions.jsonl"

SCORED = ("before", "after", "after_short")
"""When an utterance is scored: the untuned model, the tuned one, and that at cut context."""

PREDICTION = TypeAdapter(Prediction)


@dataclass(frozen=True, slots=True)
class Predictions:
    """The rows of `predictions.jsonl`, as `by_utterance` names them."""

    before: Mapping[str, Prediction] = field(default_factory=dict)
    after: Mapping[str, Prediction] = field(default_factory=dict)
    after_short: Mapping[str, Prediction] = field(default_factory=dict)
    """Of the tuned model at cut context, where it was scored at that too."""
    notes: tuple[str, ...] = ()
    """Sentences on what is missing or damaged."""


def read_curves(folder: Path) -> TrainingCurves:
    """Return the curves of a run's log; what cannot be read is left out and noted.

    The log is read line by line: no more is held than its numbers. A step that stands twice, as after a
    resume, counts as it was done last, and what followed it the first time is left out.

    Args:
        folder: The run folder.

    Example:
        >>> read_curves(Path("no-such-run")).notes
        ('log.jsonl is missing: there are no curves.',)
    """
    path = folder / LOG_FILE
    if not path.is_file():
        return TrainingCurves(notes=(f"{LOG_FILE} is missing: there are no curves.",))
    training, evaluations = defaultdict[str, Column](Column), defaultdict[str, Column](Column)
    damaged = 0
    for row in _rows(path):
        step = row.pop("step", None) if row else None
        if row is None or type(step) is not int or not _is_number(row.get("loss", row.get("eval_wer"))):
            damaged += 1
            continue
        table = training if "loss" in row else evaluations
        if "loss" in row:
            for column in evaluations.values():
                column.go_back(step)
        for name, value in row.items():
            if _is_number(value):
                table[name].add(step, float(value))
    notes = (*_damage(LOG_FILE, damaged), *_not_finite(training))
    return TrainingCurves(_curves(training), _curves(evaluations), notes)


def _curves(columns: Mapping[str, Column]) -> dict[str, Curve]:
    return {name: column.curve() for name, column in columns.items() if column.steps}


def _not_finite(training: Mapping[str, Column]) -> list[str]:
    if "loss" not in training:
        return []
    column = training["loss"]
    broken = [
        step for step, value in zip(column.steps, column.values, strict=True) if not math.isfinite(value)
    ]
    return [f"The loss was not a number at {len(broken)} steps, first at step {broken[0]}."] if broken else []


def read_predictions(folder: Path, source: str | None = None) -> Predictions:
    """Read the predictions of a run folder; what cannot be read is left out and noted.

    Args:
        folder: The run folder.
        source: Name of the mixed source whose predictions are wanted. None: the main one.

    Example:
        >>> read_predictions(Path("no-such-run")).notes
        ('predictions.jsonl is missing: no utterances are shown.',)
    """
    path = folder / PREDICTIONS_FILE
    if not path.is_file():
        return Predictions(notes=(f"{PREDICTIONS_FILE} is missing: no utterances are shown.",))
    scored: dict[str, list[Prediction]] = {when: [] for when in SCORED}
    damaged = 0
    for row in _rows(path):
        if row is None:
            damaged += 1
            continue
        try:
            prediction = PREDICTION.validate_python({key: row[key] for key in row if key != "when"})
            if prediction.source == source:
                scored[row["when"]].append(prediction)
        except (ValidationError, KeyError):
            damaged += 1
    notes = [*_damage(PREDICTIONS_FILE, damaged)]
    if not any(scored.values()):
        notes.append(f"{PREDICTIONS_FILE} holds no utterances.")
    return Predictions(**{when: by_utterance(rows) for when, rows in scored.items()}, notes=tuple(notes))


def by_utterance(predictions: Iterable[Prediction]) -> dict[str, Prediction]:
    """Return predictions by id; those of an id that a split repeats are numbered in the split's order.

    Example:
        >>> two = [Prediction("a", "yes", said, 1.0, 0.0, 0, 0, 0, 1) for said in ("yes", "no")]
        >>> list(by_utterance(two))
        ['a', 'a (2)']
    """
    met: Counter[str] = Counter()
    named: dict[str, Prediction] = {}
    for prediction in predictions:
        met[prediction.id] += 1
        number = f" ({met[prediction.id]})" if met[prediction.id] > 1 else ""
        named[prediction.id + number] = prediction
    return named


def _rows(path: Path) -> Iterator[dict[str, Any] | None]:
    """Yield the JSON objects of a file, and None for a damaged line."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            yield row if isinstance(row, dict) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _damage(name: str, lines: int) -> list[str]:
    return [f"{lines} damaged lines of {name} are left out."] if lines else []
