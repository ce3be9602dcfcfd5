"""What a search for a recipe tried, and what it found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from whisper_peft.reporting.figures import interval, percent

TrialState: TypeAlias = Literal["finished", "pruned", "diverged"]


@dataclass(frozen=True, slots=True)
class SearchTrial:
    """One recipe that was tried.

    Attributes:
        number: Its place in the search.
        state: pruned: stopped early, as others were better by then. diverged: training failed.
        wer: Of the held-out speakers; None where it diverged.
        values: What was chosen, by the name of the choice.
        folder: Its run.
    """

    number: int
    state: TrialState
    wer: float | None
    wer_interval: tuple[float, float] | None
    values: Mapping[str, Any]
    folder: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The trials of a search, in their order.

    Attributes:
        recipe: Name of the recipe that was varied.
        scored_on: What chose between them.
        trials: All that ended.
        best: The finished one with the lowest WER.
        best_recipe: YAML file of the recipe with its values.
        folder: Where everything lies.
    """

    recipe: str
    scored_on: str
    trials: tuple[SearchTrial, ...]
    best: SearchTrial
    best_recipe: str
    folder: str

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return {**asdict(self), "sentence": self.sentence()}

    def sentence(self) -> str:
        """Say which trial won, and how many others its interval does not tell from it."""
        best = self.best
        if best.wer is None or best.wer_interval is None:
            return "No trial was scored."
        near = [
            one
            for one in self.trials
            if one is not best and one.wer is not None and one.wer <= best.wer_interval[1]
        ]
        chosen = ", ".join(f"{name} {_printed(value)}" for name, value in best.values.items())
        return (
            f"Trial {best.number} has the lowest WER of the held-out rows, {percent(best.wer)} "
            f"({interval(best.wer_interval)}): {chosen}. {len(near)} other trials lie within that interval. "
            "It was chosen on these rows, so it is optimistic; the test split was not looked at."
        )

    def text(self) -> str:
        """Return the trials from the lowest WER on, and the sentence."""
        names = list(dict.fromkeys(name for one in self.trials for name in one.values))
        rows = [["trial", "WER", *names, ""], *(list(_cells(one, names)) for one in _ranked(self.trials))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, "", self.sentence(), self.best_recipe])


def _ranked(trials: tuple[SearchTrial, ...]) -> list[SearchTrial]:
    return sorted(trials, key=lambda one: (one.state != "finished", one.wer is None, one.wer or 0.0))


def _cells(trial: SearchTrial, names: list[str]) -> Iterator[str]:
    yield str(trial.number)
    yield percent(trial.wer) if trial.wer is not None else "–"
    for name in names:
        yield _printed(trial.values.get(name, "–"))
    yield "" if trial.state == "finished" else trial.state


def _printed(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
