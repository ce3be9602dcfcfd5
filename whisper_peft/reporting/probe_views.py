"""The probes before and after training: a row for each of their figures, for the page and the card."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter

from whisper_peft.reporting import figures
from whisper_peft.reporting.health_views import seconds
from whisper_peft.reporting.run_report import EvaluationRecord
from whisper_peft.types import Probes


@dataclass(frozen=True, slots=True)
class ProbeFigure:
    """A figure of a probe.

    Attributes:
        title: What it is.
        field: Where it lies in `probes`.
        print_value: Prints it.
        count: Where it lies of how many it is, in `probes`.
        counted: What these are.
    """

    title: str
    field: str
    print_value: Callable[[float], str]
    count: str
    counted: str


PROBE_FIGURES = (
    ProbeFigure(
        "Windows with well-formed timestamps, written without rules",
        "timestamps.well_formed",
        figures.share,
        "timestamps.windows",
        "windows",
    ),
    ProbeFigure(
        "Distance of the nearest timestamp from where utterances were joined",
        "timestamps.boundary_error_s",
        seconds,
        "timestamps.boundaries",
        "boundaries",
    ),
    ProbeFigure(
        "Boundaries with a timestamp within half a second",
        "timestamps.boundaries_found",
        figures.share,
        "timestamps.boundaries",
        "boundaries",
    ),
    ProbeFigure(
        "WER of recordings of a minute and more, each window alone",
        "long_form.wer",
        figures.percent,
        "long_form.recordings",
        "recordings",
    ),
    ProbeFigure(
        "WER of the same, each window told the text before it",
        "long_form.wer_previous_text",
        figures.percent,
        "long_form.recordings",
        "recordings",
    ),
    ProbeFigure("Words on clips without speech", "silence.words", figures.count, "silence.clips", "clips"),
    ProbeFigure(
        "Clips without speech that words are written for",
        "silence.clips_with_words",
        figures.count,
        "silence.clips",
        "clips",
    ),
    ProbeFigure(
        "Probability that nobody speaks, on these clips",
        "silence.no_speech_probability",
        figures.share,
        "silence.clips",
        "clips",
    ),
)
"""What is shown of the probes, in the order of the page."""


@dataclass(frozen=True, slots=True)
class ProbeRow:
    """A figure of a probe before and after training.

    Attributes:
        figure: Which.
        before: Its value for the untuned model; None where it was not measured.
        after: Its value for the tuned model; None where it was not measured.
        latest: The one of both whose count is told: `after` where there is one.
        count: Of how many.
    """

    figure: ProbeFigure
    before: float | None
    after: float | None
    latest: str
    count: int

    def printed(self, when: str) -> str:
        """Return a value as text."""
        value = {"before": self.before, "after": self.after}[when]
        return "not measured" if value is None else self.figure.print_value(value)

    @property
    def counted(self) -> str:
        """Of how many what."""
        return f"{figures.count(self.count)} {self.named}"

    @property
    def named(self) -> str:
        """What is counted, of one or of several."""
        return figures.noun(self.count, self.figure.counted)


def probe_rows(evaluation: EvaluationRecord | None) -> tuple[ProbeRow, ...]:
    """Return a row for each figure that was measured before or after training.

    Example:
        >>> probe_rows(None)
        ()
    """
    return tuple(_rows(evaluation)) if evaluation else ()


def speech_of_long_form(evaluation: EvaluationRecord | None) -> str | None:
    """Return where the seconds of the long recordings lie in the report; None where there were none."""
    for when in ("after", "before"):
        result = getattr(evaluation, when, None)
        if result is not None and result.probes is not None and result.probes.long_form is not None:
            return f"evaluation.{when}.probes.long_form.audio_seconds"
    return None


def _rows(evaluation: EvaluationRecord) -> Iterator[ProbeRow]:
    before, after = (
        result.probes if result is not None else None for result in (evaluation.before, evaluation.after)
    )
    for figure in PROBE_FIGURES:
        untuned, tuned = _value(before, figure.field), _value(after, figure.field)
        if untuned is None and tuned is None:
            continue
        latest, probes = ("before", before) if tuned is None else ("after", after)
        yield ProbeRow(figure, untuned, tuned, latest, int(_value(probes, figure.count) or 0))


def _value(probes: Probes | None, field: str) -> float | None:
    """Return a figure by its place; None where it, or its probe, was not measured."""
    probe, _, name = field.partition(".")
    part = getattr(probes, probe, None)
    value: float | None = None if part is None else attrgetter(name)(part)
    return value
