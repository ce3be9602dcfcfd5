"""What a run wrote line by line, its log and its predictions; a torn last line is no reason to fail."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import TypeAdapter, ValidationError

from whisper_peft.types import Prediction

LOG_FILE = "log.jsonl"
PREDICTIONS_FILE = "predictions.jsonl"

Curve: TypeAlias = tuple[tuple[float, float], ...]
"""Points `(step, value)` in the order of the steps; a value that is not finite is kept."""

PREDICTION = TypeAdapter(Prediction)


@dataclass(frozen=True, slots=True)
class TrainingLog:
    """The rows of `log.jsonl`, one for each step: the last one where a resumed run repeated it."""

    training: tuple[Mapping[str, Any], ...]
    evaluations: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    """Sentences on what is missing or damaged."""

    def curve(self, name: str) -> Curve:
        """Return one column over the steps; rows without it are left out.

        Example:
            >>> TrainingLog(({"step": 1, "loss": 2.0}, {"step": 2}), (), ()).curve("loss")
            ((1.0, 2.0),)
        """
        rows = (*self.training, *self.evaluations)
        return tuple((float(row["step"]), float(row[name])) for row in rows if _is_number(row.get(name)))


@dataclass(frozen=True, slots=True)
class Predictions:
    """The rows of `predictions.jsonl`, as `by_utterance` names them."""

    before: Mapping[str, Prediction]
    after: Mapping[str, Prediction]
    notes: tuple[str, ...]
    """Sentences on what is missing or damaged."""


def read_log(folder: Path) -> TrainingLog:
    """Read the log of a run folder; what cannot be read is left out and noted.

    Example:
        >>> read_log(Path("no-such-run")).notes
        ('log.jsonl is missing: there are no curves.',)
    """
    rows, damaged = _rows(folder / LOG_FILE)
    if rows is None:
        return TrainingLog((), (), (f"{LOG_FILE} is missing: there are no curves.",))
    usable = [
        row for row in rows if all(map(_is_number, (row.get("step"), row.get("loss", row.get("eval_wer")))))
    ]
    training = {row["step"]: row for row in usable if "loss" in row}
    evaluations = {row["step"]: row for row in usable if "loss" not in row}
    notes = [*_damage(LOG_FILE, damaged + len(rows) - len(usable))]
    broken = [str(step) for step, row in sorted(training.items()) if not math.isfinite(float(row["loss"]))]
    if broken:
        notes.append(f"The loss was not a number at {len(broken)} steps, first at step {broken[0]}.")
    return TrainingLog(_by_step(training), _by_step(evaluations), tuple(notes))


def read_predictions(folder: Path, source: str | None = None) -> Predictions:
    """Read the predictions of a run folder; what cannot be read is left out and noted.

    Args:
        folder: The run folder.
        source: Name of the mixed source whose predictions are wanted. None: the main one.

    Example:
        >>> read_predictions(Path("no-such-run")).notes
        ('predictions.jsonl is missing: no utterances are shown.',)
    """
    rows, damaged = _rows(folder / PREDICTIONS_FILE)
    if rows is None:
        return Predictions({}, {}, (f"{PREDICTIONS_FILE} is missing: no utterances are shown.",))
    scored: dict[str, list[Prediction]] = {"before": [], "after": []}
    for row in rows:
        try:
            prediction = PREDICTION.validate_python({key: row[key] for key in row if key != "when"})
            if prediction.source == source:
                scored[row["when"]].append(prediction)
        except (ValidationError, KeyError):
            damaged += 1
    notes = [*_damage(PREDICTIONS_FILE, damaged)]
    if not (scored["before"] or scored["after"]):
        notes.append(f"{PREDICTIONS_FILE} holds no utterances.")
    return Predictions(by_utterance(scored["before"]), by_utterance(scored["after"]), tuple(notes))


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


def _rows(path: Path) -> tuple[list[dict[str, Any]] | None, int]:
    """Return the JSON objects of a file, or None without the file, and the number of damaged lines."""
    if not path.is_file():
        return None, 0
    rows, damaged = [], 0
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            damaged += 1
    return rows, damaged


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _by_step(rows: Mapping[int, Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple(rows[step] for step in sorted(rows))


def _damage(name: str, lines: int) -> list[str]:
    return [f"{lines} damaged lines of {name} are left out."] if lines else []
