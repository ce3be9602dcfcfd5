"""The health of a tuned model, as it stands in `report.json`. Fractions inside."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Verdict: TypeAlias = Literal["good", "watch", "bad", "not measured"]

GRAVITY: tuple[Verdict, ...] = ("good", "not measured", "watch", "bad")
"""What is worse comes later. A figure that nobody measured is never good."""

Unit: TypeAlias = Literal["share", "seconds", "number"]
"""What a figure is: a fraction, a duration, or a plain number."""

Level: TypeAlias = Literal["quick", "full"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the model before and after training, on the same material.

    Attributes:
        name: What it is of, such as `WER`.
        before: The untuned model; None where it has no such figure. So for `after`, the tuned one.
        change: 95 % interval of after minus before, resampled over the same items.
        count: Items that were compared.
        counted: What they are, such as `utterances`.
    """

    name: str
    unit: Unit
    before: float | None
    after: float | None
    change: tuple[float, float] | None
    count: int
    counted: str

    @property
    def rise(self) -> float:
        """After minus before; 0 where one is missing."""
        return 0.0 if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True, slots=True)
class Check:
    """One side of a model's health.

    Attributes:
        name: Which one, as in `checks.CHECKS`.
        subject: What it was measured on, where there are several.
        verdict: What came out.
        figures: The first is what the verdict rests on, unless `why` names another.
        why: In a sentence.
        todo: What to do about it; empty where nothing is to be done.
        how_to: Name of the page in `docs/how-to` that tells how.
    """

    name: str
    subject: str
    verdict: Verdict
    figures: tuple[Figure, ...]
    why: str
    todo: str = ""
    how_to: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """All checks of a run.

    Attributes:
        level: How much was heard for it.
        checks: In the order of a report.
        seconds: Wall-clock seconds that they took.
    """

    level: Level
    checks: tuple[Check, ...]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """The gravest of all verdicts.

        Example:
            >>> checks = tuple(Check("loops", "", verdict, (), "") for verdict in ("good", "watch"))
            >>> Health("quick", checks, 1.0).verdict
            'watch'
        """
        return max((check.verdict for check in self.checks), key=GRAVITY.index, default="not measured")

    def named(self, name: str) -> tuple[Check, ...]:
        """Return the checks of a name: one, or one for each subject."""
        return tuple(check for check in self.checks if check.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return {**asdict(self), "verdict": self.verdict}
