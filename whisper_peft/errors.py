"""Every error a user can meet, in one tree.

```
WhisperPeftError            the user's to mend: one clear message, exit code 2
├── RecipeError             a field, flag, recipe or plug-in name
├── DataError               a source, split, manifest or column
│   └── AudioError          one recording that cannot be used; carries a `reason` to count it under
├── ModelError              a checkpoint: not found, incomplete, damaged, of another size
│   └── AdapterError        an adapter that does not fit, or that is not applied
├── TrainingError           the loop cannot go on: diverged, wrong number of processes
│   └── ResumeError         a checkpoint that is missing, damaged or of another run
├── EvaluationError         nothing to score, or an unknown normaliser
├── BenchmarkError          two sides that cannot be compared, or one that failed
├── MergeError              the folded model differs from the adapter model
├── ExportError             a format that cannot hold the model, or a runtime that failed
│   └── RefusedExportError  exports that differ from the model, set aside; carries the `result`
├── PublishingError          a push that cannot begin, or that the Hub refused
├── ServingError            a server that cannot start, or a setting it cannot have
└── StorageError            a folder that is full, not writable or already in use
```

A message has three parts: *what* happened with the value, *why*, and *what to do*.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class WhisperPeftError(Exception):
    """An error that its reader can mend.

    Args:
        what: What is wrong, with the offending field and value.
        why: Why that is a problem.
        todo: The next thing to do or to type.

    Example:
        >>> print(WhisperPeftError("train.max_steps is 0", "nothing would be learned", "give at least 1"))
        train.max_steps is 0 - nothing would be learned - give at least 1
    """

    def __init__(self, what: str, why: str = "", todo: str = "") -> None:
        self.what, self.why, self.todo = what, why, todo
        super().__init__(" - ".join(part for part in (what, why, todo) if part))

    def __reduce__(self) -> tuple[type[WhisperPeftError], tuple[str, str, str]]:
        return type(self), (self.what, self.why, self.todo)


class RecipeError(WhisperPeftError):
    """A field, flag, recipe or plug-in name is unknown or has a bad value."""


class DataError(WhisperPeftError):
    """A source, split, manifest or column is missing or malformed."""


class AudioError(DataError):
    """One recording cannot be used.

    Args:
        reason: A short, countable name, such as `unreadable` or `empty`.
    """

    def __init__(self, what: str, why: str = "", todo: str = "", *, reason: str = "unreadable") -> None:
        super().__init__(what, why, todo)
        self.reason = reason

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:  # type: ignore[override]
        return _rebuild_audio_error, (self.what, self.why, self.todo, self.reason)


def _rebuild_audio_error(what: str, why: str, todo: str, reason: str) -> AudioError:
    return AudioError(what, why, todo, reason=reason)


class ModelError(WhisperPeftError):
    """A checkpoint is missing, incomplete, damaged or of an unsupported kind."""


class AdapterError(ModelError):
    """An adapter does not fit the model, or has no effect on it."""


class TrainingError(WhisperPeftError):
    """Training cannot start or go on."""


class ResumeError(TrainingError):
    """A checkpoint to resume from is missing, damaged or belongs to another run."""


class EvaluationError(WhisperPeftError):
    """There is nothing to score, or no such way to score it."""


class BenchmarkError(WhisperPeftError):
    """The two sides of a comparison did not do the same work, or one of them failed."""


class MergeError(WhisperPeftError):
    """The merged model does not equal the adapter model within the tolerance."""


class ExportError(WhisperPeftError):
    """A model does not fit a format, an export does not hold it, or its runtime is missing or failed."""


class PublishingError(WhisperPeftError):
    """What should go to the Hub is incomplete, cannot go there, or was refused."""


class ServingError(WhisperPeftError):
    """A server cannot start as it was asked to."""


class RefusedExportError(ExportError):
    """Exports that drift past the tolerance, and were set aside.

    Args:
        result: The `ExportResult`: what was made all the same, and what was refused.
    """

    def __init__(self, what: str, why: str = "", todo: str = "", *, result: Any = None) -> None:
        super().__init__(what, why, todo)
        self.result = result


class StorageError(WhisperPeftError):
    """A folder is full, not writable, or used by another run."""


def first_of(errors: Sequence[WhisperPeftError], limit: int = 5) -> str:
    """Return the first errors as one line, and how many more there are.

    Example:
        >>> first_of([DataError("a.wav", "empty"), DataError("b.wav", "damaged")], limit=1)
        'a.wav - empty; and 1 more'
    """
    more = [f"and {len(errors) - limit} more"] if len(errors) > limit else []
    return "; ".join([*map(str, errors[:limit]), *more])


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that suggests the nearest known name and lists the choices.

    Example:
        >>> did_you_mean("attenton", ["attention", "all-linear"])
        'did you mean attention? Known: all-linear, attention'
    """
    choices = sorted(known)
    nearest = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    suggestion = f"did you mean {nearest[0]}? " if nearest else ""
    return f"{suggestion}Known: {', '.join(choices) or 'none'}"
