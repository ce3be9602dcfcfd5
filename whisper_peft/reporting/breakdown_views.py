"""The errors by kind as the page shows them: what each dimension is called, and what its rates are of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from whisper_peft.evaluation.error_analysis.values import Breakdown, Confusion, Slice
from whisper_peft.reporting.plots.interval_plots import (
    IntervalPlot,
    ReliabilityPlot,
    interval_plot,
    reliability_plot,
)

FEW = 5
"""Of fewer utterances an interval says little: resampling cannot know what was never drawn."""

MOST_DRAWN = 12
"""Kinds of a dimension that are drawn and listed at once; the others, as of many speakers, are folded."""


@dataclass(frozen=True, slots=True)
class Heading:
    """What a dimension is called, what its rates are of, and what they are counted against."""

    title: str
    caption: str
    units: str = "Words"


HEADINGS = {
    "duration": Heading("WER by duration", "How long the recording is."),
    "snr": Heading(
        "WER by noise", "Signal-to-noise ratio, estimated from the quietest tenth of the recording."
    ),
    "speaking_rate": Heading(
        "WER by speaking rate",
        "Letters of the reference a second of recording, in quarters of the utterances.",
    ),
    "position": Heading(
        "WER by place in the window",
        "Where a word lies in the 30 s that Whisper hears, as if words were spread evenly.",
    ),
    "speaker": Heading("WER by speaker", "Those with the most words."),
    "language": Heading("WER by language", "Language of the row."),
    "source": Heading("WER by source", "The main source, and what was mixed in or only scored."),
    "rarity": Heading(
        "Rare words",
        "Share of words not written as said, by how often they stand in the training text, without numbers.",
    ),
    "kind": Heading(
        "Names and numbers",
        "Share of words not written as said. A name is capitalised inside a sentence of the reference.",
    ),
    "writing": Heading(
        "Case and punctuation",
        "In the text as it is: words that are right but for their case, and the marks behind right words.",
        "Words or marks",
    ),
}
"""Dimensions in the order of the page."""

NAMES = {"calibration": "Confidence", "names": "Names"} | {
    name: heading.title for name, heading in HEADINGS.items()
}

CONFUSIONS = {
    "substituted": Heading("Words written otherwise", "Said and written."),
    "left_out": Heading("Words left out", "Said, and nothing written."),
    "added": Heading("Words added", "Written, and nothing said."),
    "characters": Heading("Characters", "In words of which at least half is right."),
}
"""Tables of confusions in the order of the page."""


@dataclass(frozen=True, slots=True)
class ShownDimension:
    """A dimension on the page; `path` is where its slices stand in `report.json`."""

    name: str
    heading: Heading
    path: str
    slices: tuple[Slice, ...]
    plot: IntervalPlot

    @property
    def drawn(self) -> tuple[Slice, ...]:
        """What is drawn and listed at once."""
        return self.slices[:MOST_DRAWN]

    @property
    def folded(self) -> tuple[Slice, ...]:
        """What is listed where a reader asks for it."""
        return self.slices[MOST_DRAWN:]

    @property
    def has_few(self) -> bool:
        """Whether some kind has too few utterances to be sure of its interval."""
        return any(one.utterances < FEW for one in self.slices)


@dataclass(frozen=True, slots=True)
class ShownConfusions:
    """A table of confusions."""

    name: str
    heading: Heading
    path: str
    rows: tuple[Confusion, ...]

    @property
    def has_both(self) -> bool:
        """Whether anything can be said and written, rather than one of the two."""
        return self.name in ("substituted", "characters")


BREAKDOWN = "evaluation.breakdown"
"""Where the errors by kind stand in `report.json`."""


def dimensions(breakdown: Breakdown) -> Iterator[ShownDimension]:
    """Yield what was measured, in the order of the page."""
    for name, heading in HEADINGS.items():
        if slices := breakdown.slices.get(name):
            path = f"{BREAKDOWN}.slices.{name}"
            plot = interval_plot(heading.title, slices[:MOST_DRAWN])
            yield ShownDimension(name, heading, path, slices, plot)


def confusion_tables(breakdown: Breakdown) -> Iterator[ShownConfusions]:
    """Yield the tables of confusions, in the order of the page."""
    for name, heading in CONFUSIONS.items():
        if rows := breakdown.confusions.get(name):
            yield ShownConfusions(name, heading, f"{BREAKDOWN}.confusions.{name}", rows)


def reliability(breakdown: Breakdown) -> ReliabilityPlot | None:
    """Return the plot of confidence, where it was measured."""
    return reliability_plot(dict(breakdown.calibration)) if breakdown.calibration else None


def not_measured(breakdown: Breakdown) -> tuple[str, ...]:
    """Return a sentence for each dimension without slices."""
    return tuple(f"{NAMES[name]}: {why}." for name, why in breakdown.not_measured.items())


def change_word(one: Slice) -> str:
    """Say whether a rate fell or rose by more than chance.

    Example:
        >>> change_word(Slice("loud", 9, 40, change=(-0.2, -0.1)))
        'better'
    """
    if one.change is None:
        return ""
    low, high = one.change
    if one.utterances < FEW or low <= 0 <= high:
        return "unclear"
    return "better" if high < 0 else "worse"
