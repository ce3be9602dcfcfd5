"""Runs beside each other: what each reached and took, which differences are clear, which fields differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from whisper_peft.reporting.figures import count, duration, interval, memory, percent, points

MOST_PAIRS = 10
"""Pairs that are all listed; of more, only those with the run of the lowest WER."""

LONGEST_VALUE = 40
"""Signs of a recipe's value in a terminal."""

Interval = tuple[float, float]
"""Both ends of a 95 % interval, resampled over utterances."""


@dataclass(frozen=True, slots=True)
class ComparedScore:
    """Error rates of a model on the main source of a run; `cer_interval` is None without predictions."""

    wer: float
    wer_interval: Interval
    cer: float
    cer_interval: Interval | None
    utterances: int


@dataclass(frozen=True, slots=True)
class Retained:
    """WER on speech that was mixed in, or only scored; `before` is None where it was not scored then."""

    name: str
    before: float | None
    after: float
    after_interval: Interval


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One run as its report has it.

    Attributes:
        name: The shortest end of its folder that no other run has.
        method: How it learned, such as DoRA.
        scored_on: Split, normaliser and audio context of the scores.
        before: The untuned model; None where it was not scored.
        change: 95 % interval of after minus before.
        peak_memory_bytes: Until the end of training.
    """

    name: str
    folder: str
    base: str
    method: str
    scored_on: str
    before: ComparedScore | None
    after: ComparedScore
    change: Interval | None
    retained: tuple[Retained, ...]
    trainable_parameters: int
    train_seconds: float
    peak_memory_bytes: int
    rtfx: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs on the same utterances: the WER of the second minus that of the first.

    Attributes:
        utterances: Those that both were scored on.
        share_lower: Share of the resamples in which the second has the lower WER.
        note: What the reader should know of the pairing.
        refused: Why the two cannot be compared; then there are no figures.
    """

    first: str
    second: str
    utterances: int = 0
    difference: float | None = None
    interval: Interval | None = None
    share_lower: float | None = None
    note: str | None = None
    refused: str | None = None

    @property
    def verdict(self) -> str:
        """What the interval says of the second run.

        Example:
            >>> [Pair("a", "b", 9, -0.01, (-0.02, high)).verdict for high in (-0.005, 0.01)]
            ['clearly lower', 'not told apart']
        """
        if self.interval is None:
            return "not compared"
        low, high = self.interval
        return "clearly lower" if high < 0 else "clearly higher" if low > 0 else "not told apart"

    def sentence(self) -> str:
        """Return one line.

        Example:
            >>> Pair("lora", "dora", 120, -0.004, (-0.012, 0.004)).sentence()
            'dora beside lora: -0.40 points (-1.20 points to +0.40 points), not told apart'
        """
        if self.difference is None or self.interval is None:
            return f"{self.second} beside {self.first}: not compared, {self.refused}"
        ends = " to ".join(map(points, self.interval))
        note = f"; {self.note}" if self.note else ""
        return f"{self.second} beside {self.first}: {points(self.difference)} ({ends}), {self.verdict}{note}"

    def turned(self) -> Pair:
        """Return the same pair, seen from the other run."""
        if self.difference is None or self.interval is None or self.share_lower is None:
            return Pair(self.second, self.first, self.utterances, note=self.note, refused=self.refused)
        low, high = self.interval
        return Pair(
            self.second,
            self.first,
            self.utterances,
            0.0 - self.difference,
            (0.0 - high, 0.0 - low),
            1 - self.share_lower,
            self.note,
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs beside each other.

    Attributes:
        runs: In the order in which they were given.
        pairs: Every two of them.
        differences: Fields of the recipes that differ, each with its value in every run.
        notes: What makes figures hard to compare.
        folder: Where the page lies.
    """

    runs: tuple[ComparedRun, ...]
    pairs: tuple[Pair, ...]
    differences: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    folder: str

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        pairs = [{**asdict(pair), "verdict": pair.verdict} for pair in self.pairs]
        differences = {field: list(values) for field, values in self.differences.items()}
        return {**asdict(self), "pairs": pairs, "differences": differences, "verdict": self.verdict()}

    @property
    def best(self) -> ComparedRun:
        """The run with the lowest WER."""
        return min(self.runs, key=lambda run: run.after.wer)

    def beside(self, name: str) -> list[Pair]:
        """Return the pairs that a run is in, each seen from it."""
        found = [pair if pair.first == name else pair.turned() for pair in self.pairs]
        return [pair for pair in found if pair.first == name]

    def verdict(self) -> str:
        """Say which run has the lowest WER, and which of the others are clearly behind it."""
        best = self.best
        others = self.beside(best.name)
        words = {
            "clearly higher": "Clearly higher",
            "not told apart": "Not told apart from it",
            "clearly lower": "Clearly lower on the utterances that both were scored on",
            "not compared": "Not comparable with it",
        }
        said = [f"{best.name} has the lowest WER, {percent(best.after.wer)}."]
        for verdict, opening in words.items():
            names = [pair.second for pair in others if pair.verdict == verdict]
            said += [f"{opening}: {'; '.join(names)}."] if names else []
        return " ".join(said)

    def told_pairs(self) -> list[Pair]:
        """Return every pair, or, where those are many, the pairs with the best run."""
        return list(self.pairs) if len(self.pairs) <= MOST_PAIRS else self.beside(self.best.name)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return headings and printed cells, a row for each run."""
        sources = list(dict.fromkeys(one.name for run in self.runs for one in run.retained))
        headings = ["run", "method", "WER before", "WER after", "CER before", "CER after"]
        headings += [f"WER on {name}" for name in sources]
        headings += ["weights that learn", "training", "peak memory"]
        return headings, [[*_rates(run), *_retained(run, sources), *_cost(run)] for run in self.runs]

    def text(self) -> str:
        """Return the table and what follows from it, for a terminal."""
        headings, rows = self.table()
        lines = [*_aligned([headings, *rows]), "", self.verdict()]
        lines += [pair.sentence() for pair in self.told_pairs()]
        lines += [f"note: {note}" for note in self.notes]
        if self.differences:
            names = [run.name for run in self.runs]
            fields = [[field, *map(_cut, values)] for field, values in self.differences.items()]
            lines += ["", *_aligned([["recipe", *names], *fields])]
        return "\n".join(lines)

    def markdown(self) -> str:
        """Return the same as Markdown."""
        headings, rows = self.table()
        lines = ["# Runs beside each other", "", self.verdict(), "", *_markdown_table(headings, rows), ""]
        lines += [f"* {_escaped(pair.sentence())}" for pair in self.told_pairs()]
        lines += [f"* {_escaped(note)}" for note in self.notes]
        if self.differences:
            names = ["field", *(run.name for run in self.runs)]
            fields = [[field, *values] for field, values in self.differences.items()]
            lines += ["", "## Fields that differ", "", *_markdown_table(names, fields)]
        return "\n".join(lines) + "\n"


def _cut(value: str) -> str:
    """Return the beginning of a value that is too long for a terminal; JSON and page have the whole."""
    return value if len(value) <= LONGEST_VALUE else f"{value[: LONGEST_VALUE - 1]}…"


def _rates(run: ComparedRun) -> Iterator[str]:
    yield run.name
    yield run.method
    for name in ("wer", "cer"):
        for score in (run.before, run.after):
            yield "–" if score is None else _rate(getattr(score, name), getattr(score, f"{name}_interval"))


def _rate(value: float, bounds: Interval | None) -> str:
    return percent(value) if bounds is None else f"{percent(value)} ({interval(bounds)})"


def _retained(run: ComparedRun, names: Sequence[str]) -> Iterator[str]:
    found = {one.name: one for one in run.retained}
    for name in names:
        one = found.get(name)
        if one is None:
            yield "–"
        else:
            yield (
                f"{percent(one.before)} -> {percent(one.after)}"
                if one.before is not None
                else percent(one.after)
            )


def _cost(run: ComparedRun) -> Iterator[str]:
    yield count(run.trainable_parameters)
    yield duration(run.train_seconds)
    yield memory(run.peak_memory_bytes)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(map(_escaped, line))} |" for line in lines]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
