"""The scores of other speech, learned or not, beside those of the main source: what was kept or forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from whisper_peft.reporting.figures import percent, points, utterances
from whisper_peft.reporting.run_report import RunReport
from whisper_peft.types import EvalResult


@dataclass(frozen=True, slots=True)
class MixedScores:
    """One source of `data.mix`.

    Attributes:
        name: Its name in the mixture.
        split: Split that was scored.
        share: Share of the rows of an epoch that it took; 0 where it was only scored.
        before: Scores of the untuned model; None where it was not scored.
        after: Scores of the tuned model; None where the run stopped first.
        difference: 95 % interval of the change of the WER.
    """

    name: str
    split: str
    share: float
    before: EvalResult | None
    after: EvalResult | None
    difference: tuple[float, float] | None

    @property
    def heard(self) -> str:
        """How much of the training speech it was."""
        return f"{percent(self.share, digits=1)} of an epoch" if self.share else "not learned"

    @property
    def utterances(self) -> int:
        """Utterances that were scored."""
        scored = self.after or self.before
        return scored.utterances if scored else 0

    @property
    def verdict(self) -> str:
        """Whether the WER fell or rose, and by more than chance."""
        if self.before is None or self.after is None or self.difference is None:
            return ""
        low, high = self.difference
        if low <= 0 <= high:
            return "no clear change"
        return "worse" if low > 0 else "better"

    def sentence(self) -> str:
        """Say in one line what the run did to it."""
        rates = [percent(one.wer) for one in (self.before, self.after) if one is not None]
        scored = f"{self.name} ({self.heard}), {utterances(self.utterances)} of {self.split}"
        heading = f"{scored}: WER {' -> '.join(rates)}"
        if self.difference is None:
            return heading
        return (
            f"{heading}, change {points(self.difference[0])} to {points(self.difference[1])}: {self.verdict}"
        )


def mixed_scores(report: RunReport) -> tuple[MixedScores, ...]:
    """Return the scores of each source of `data.mix` that was scored, in the recipe's order."""
    return tuple(_scores(report))


def _scores(report: RunReport) -> Iterator[MixedScores]:
    evaluation = report.evaluation
    if evaluation is None or report.data is None:
        return
    for mixed in report.data.mixed:
        before = evaluation.before.sources.get(mixed.name) if evaluation.before else None
        after = evaluation.after.sources.get(mixed.name) if evaluation.after else None
        if before is not None or after is not None:
            difference = evaluation.source_difference_intervals.get(mixed.name)
            yield MixedScores(mixed.name, mixed.eval_split or "", mixed.share, before, after, difference)
