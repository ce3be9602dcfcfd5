"""The curves of a run as plots and as the rows of a table: views of `curves` in `report.json`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from whisper_peft.reporting import figures
from whisper_peft.reporting.plots.line_plots import STEPS, Plot, Points, Series, XAxis, line_plot
from whisper_peft.reporting.run_report import RunReport
from whisper_peft.reporting.values.curve_values import Curve, TrainingCurves

ELAPSED = "elapsed_s"
"""The curve that tells at which second of training a step ended."""

MOST_OWN = 12
"""Numbers of a user's own callbacks that are drawn."""

CLOCKS = ((7200.0, 3600.0, "hours"), (180.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))
"""From how many seconds of training on its axis counts in a unit of so many seconds."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a curve is shown.

    Attributes:
        title: What it is.
        print_value: Prints a value of it.
        over_time: Whether it is shown over the time and not over the steps.
        wide_range: Whether its axis may be logarithmic.
        unit: What its axis counts in.
    """

    title: str
    print_value: Callable[[float], str] = figures.number
    over_time: bool = False
    wide_range: bool = False
    unit: float = 1.0


LOOKS = {
    "loss": Look("Loss"),
    "learning_rate": Look("Learning rate"),
    "grad_norm": Look("Gradient norm", wide_range=True),
    "audio_seconds_per_second": Look("Audio-seconds per second"),
    "target_tokens": Look("Target tokens a step", figures.count),
    "data_wait_share": Look("Data wait", figures.short_percent, over_time=True),
    "memory_bytes": Look("Memory", figures.gib, over_time=True, unit=figures.GIB),
    "encoder_cache_hit_share": Look("Encoder states found", figures.short_percent),
}
"""Columns of `log.jsonl` in the order of the page; the WER comes second."""

UNDRAWN = {"epoch", "audio_seconds", ELAPSED}
"""Columns that other numbers of the page tell better."""

EVALUATED = {
    "eval_wer": Look("WER while training", figures.percent),
    "eval_cer": Look("CER while training", figures.percent),
}
"""Rows of the table that are of evaluations."""


@dataclass(frozen=True, slots=True)
class CurveRow:
    """A row of the table: its title, where it lies in `report.json`, and how its values are printed."""

    title: str
    path: str
    curve: Curve
    print_value: Callable[[float], str]


def curve_plots(report: RunReport) -> tuple[Plot, ...]:
    """Return the plots that have points at more than one place: loss and WER first."""
    curves = report.curves or TrainingCurves()
    clock = _clock(curves)
    drawn = [_plot(name, look, curves, clock) for name, look in _looks(curves).items()]
    wer = list(_wer_series(report, curves))
    drawn.insert(1, line_plot("WER", wer, figures.short_percent) if _reaches_on(wer) else None)
    return tuple(plot for plot in drawn if plot is not None)


def curve_rows(report: RunReport) -> tuple[CurveRow, ...]:
    """Return what the table beside the plots says of each curve."""
    curves = report.curves or TrainingCurves()
    rows = [
        CurveRow(look.title, f"curves.training.{name}", curves.training[name], look.print_value)
        for name, look in _looks(curves).items()
    ]
    scored = [
        CurveRow(look.title, f"curves.evaluations.{name}", curves.evaluations[name], look.print_value)
        for name, look in EVALUATED.items()
        if name in curves.evaluations
    ]
    return (*rows[:1], *scored, *rows[1:])


def _looks(curves: TrainingCurves) -> dict[str, Look]:
    """Return how each logged curve is shown; a user's own numbers come last, under their names."""
    own = [name for name in curves.training if name not in LOOKS and name not in UNDRAWN][:MOST_OWN]
    looks = LOOKS | {name: Look(name) for name in own}
    return {name: look for name, look in looks.items() if name in curves.training}


def _plot(name: str, look: Look, curves: TrainingCurves, clock: _Clock | None) -> Plot | None:
    curve, path = curves.training[name], f"curves.training.{name}"
    band = tuple(zip(curve.low, curve.high, strict=True))
    timed = clock.points(curve) if clock is not None and look.over_time else None
    points = timed or tuple(zip(map(float, curve.steps), curve.values, strict=True))
    series = Series(look.title, points, band=band, path=path)
    along = clock.axis if clock is not None and timed else STEPS
    if not _reaches_on([series]):
        return None
    return line_plot(
        look.title, [series], look.print_value, along=along, wide_range=look.wide_range, unit=look.unit
    )


def _reaches_on(series: list[Series]) -> bool:
    """Tell whether there is more to draw than one place, whose values the page says in words."""
    return len({place for one in series for place, _ in one.points}) > 1


@dataclass(frozen=True)
class _Clock:
    """When each point of a curve was."""

    seconds: dict[int, float]
    unit_s: float
    axis: XAxis

    def points(self, curve: Curve) -> Points | None:
        """Return a curve over the time; None where it has points at other steps than the time has."""
        if not self.seconds.keys() >= set(curve.steps):
            return None
        places = (round(self.seconds[step] / self.unit_s, 2) for step in curve.steps)
        return tuple(zip(places, curve.values, strict=True))


def _clock(curves: TrainingCurves) -> _Clock | None:
    elapsed = curves.training.get(ELAPSED)
    if elapsed is None or elapsed.highest is None:
        return None
    _, unit_s, name = next(one for one in CLOCKS if elapsed.highest >= one[0])
    axis = XAxis(f"{name} of training", "training time", "", f" {name}")
    return _Clock(dict(zip(elapsed.steps, elapsed.values, strict=True)), unit_s, axis)


def _wer_series(report: RunReport, curves: TrainingCurves) -> Iterator[Series]:
    """Yield the WER while training, and the scores before and after, which may be of another split."""
    if "eval_wer" in curves.evaluations:
        curve = curves.evaluations["eval_wer"]
        points = tuple(zip(map(float, curve.steps), curve.values, strict=True))
        yield Series("while training", points, path="curves.evaluations.eval_wer")
    evaluation, train = report.evaluation, report.train
    if evaluation is None:
        return
    last = (train.best_step or train.steps) if train else 0
    scored = [(step, one) for step, one in ((0, evaluation.before), (last, evaluation.after)) if one]
    if scored:
        points = tuple((float(step), one.wer) for step, one in scored)
        intervals = tuple(one.wer_interval for _, one in scored)
        yield Series(f"scored on {evaluation.scored_split}", points, True, intervals)
