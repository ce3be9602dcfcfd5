"""`report.html`: one self-contained page that reads offline, without JavaScript, on paper and on a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from whisper_peft.reporting import figures
from whisper_peft.reporting.alignment import AlignedWord, align, pairs, worst
from whisper_peft.reporting.json_lines import Predictions, TrainingLog, read_log, read_predictions
from whisper_peft.reporting.mixed_scores import mixed_scores
from whisper_peft.reporting.plots import Plot, Series, line_plot
from whisper_peft.reporting.run_report import RunReport, read_report, write_text
from whisper_peft.reporting.style_drift import STYLE_MEASURES, style_drift
from whisper_peft.reporting.verdict import caution, merge_sentence, short_context, training_skips, verdict
from whisper_peft.types import Prediction

PAGE_FILE = "report.html"
RECIPE_FILE = "recipe.yaml"

MOST_UTTERANCES = 10
"""Utterances in the list of the worst; the lists of changes are half as long."""

RATES = {
    "wer": "Word error rate (WER)",
    "cer": "Character error rate (CER)",
    "wer_raw": "WER of the text as it is",
    "cer_raw": "CER of the text as it is",
}
COUNTS = {
    "substitutions": "Words substituted",
    "deletions": "Words left out",
    "insertions": "Words added",
    "hits": "Words right",
    "looping": "Transcripts cut because they did not end",
}


CURVES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("Loss", "loss", figures.number),
    ("Learning rate", "learning_rate", figures.number),
    ("Audio-seconds per second", "audio_seconds_per_second", figures.number),
    ("Data wait", "data_wait_share", figures.short_percent),
    ("Gradient norm", "grad_norm", figures.number),
)
"""Plots over the steps: title, column of `log.jsonl`, how its values are printed."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An utterance on the page, with the alignment of one or two of its transcripts."""

    prediction: Prediction
    transcripts: tuple[tuple[str, Prediction, tuple[AlignedWord, ...]], ...]
    """When it was written (before or after), its score, its words beside what was said."""


@dataclass(frozen=True, slots=True)
class Group:
    """A list of utterances under a heading."""

    title: str
    caption: str
    utterances: tuple[Shown, ...]


class Figures:
    """Print numbers of the report, each with its exact value and its path in `report.json` as attributes."""

    def __init__(self, plain: Mapping[str, Any]) -> None:
        self._values = dict(_flatten(plain))

    def __call__(self, path: str, print_value: Callable[[float], str]) -> Markup:
        """Return the number at a dotted path as HTML, or a dash where it was not measured.

        Example:
            >>> Figures({"train": {"steps": 1200}})("train.steps", figures.count)
            Markup('<data value="1200" data-path="train.steps">1,200</data>')
        """
        value = self._values.get(path)
        if value is None:
            return Markup('<span class="absent" title="not measured">–</span>')
        return Markup('<data value="{}" data-path="{}">{}</data>').format(
            value, path, print_value(float(value))
        )


def write_page(run_folder: Path) -> Path:
    """Write `report.html` into a run folder, from its report, log, predictions and recipe.

    A missing or damaged log, recipe or list of predictions leaves a note on the page.

    Raises:
        StorageError: If `report.json` is missing or damaged, or the page cannot be written.

    Example:
        >>> write_page(Path("runs/demo"))  # doctest: +SKIP
        PosixPath('runs/demo/report.html')
    """
    report = read_report(run_folder)
    recipe = run_folder / RECIPE_FILE
    recipe_text = recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else None
    page = render_page(report, read_log(run_folder), read_predictions(run_folder), recipe_text=recipe_text)
    return write_text(run_folder / PAGE_FILE, page)


def render_page(
    report: RunReport, log: TrainingLog, predictions: Predictions, *, recipe_text: str | None
) -> str:
    """Return the page as HTML; every text in it is escaped."""
    templates = Environment(
        loader=PackageLoader("whisper_peft.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = templates.get_template("page.html")
    return page.render(
        report=report,
        figure=Figures({**report.to_dict(), "difference": differences(report)}),
        form=figures,
        rates=RATES,
        counts=COUNTS,
        style_measures=STYLE_MEASURES,
        style_drift=style_drift(report.evaluation),
        verdict=verdict(report.evaluation),
        short_context=short_context(report.evaluation),
        mixed_scores=mixed_scores(report),
        caution=caution(report),
        merge_sentence=merge_sentence(report.merge) if report.merge else None,
        training_skips=training_skips(report),
        notes=(*log.notes, *predictions.notes),
        axis_end=axis_end(report),
        plots=plots(report, log),
        groups=groups(report, predictions),
        recipe_text=recipe_text,
    )


def differences(report: RunReport) -> dict[str, float]:
    """Return after minus before for every rate and count, or nothing where one was not measured."""
    evaluation = report.evaluation
    if evaluation is None or evaluation.before is None or evaluation.after is None:
        return {}
    before, after = evaluation.before, evaluation.after
    return {name: getattr(after, name) - getattr(before, name) for name in (*RATES, *COUNTS)}


def axis_end(report: RunReport) -> float:
    """Return the WER at the right end of the axis that shows the two intervals."""
    evaluation = report.evaluation
    scored = [evaluation.before, evaluation.after] if evaluation else []
    return max([0.01, *(max(result.wer, result.wer_interval[1]) for result in scored if result)])


def plots(report: RunReport, log: TrainingLog) -> tuple[Plot, ...]:
    """Return the plots that have points: loss and WER first."""
    drawn = [line_plot(title, [Series(title, log.curve(name))], form) for title, name, form in CURVES]
    drawn.insert(1, line_plot("WER", _wer_series(report, log), figures.short_percent))
    return tuple(plot for plot in drawn if plot is not None)


def groups(report: RunReport, predictions: Predictions) -> tuple[Group, ...]:
    """Return the lists of utterances that are not empty: the worst, the most improved, the most worsened."""
    evaluation = report.evaluation
    latest = (evaluation.after or evaluation.before) if evaluation else None
    if latest is None:
        return ()
    when = "after" if predictions.after else "before"
    scored = predictions.after or predictions.before
    # Imported here because Whisper's normalisers come with transformers, and printing a summary needs none.
    from whisper_peft.evaluation.normalizers import get_normalizer

    normalize = get_normalizer(latest.normalizer, latest.language)

    def show(**transcripts: Prediction) -> Shown:
        aligned = tuple(
            (name, one, align(one.reference, one.hypothesis, normalize)) for name, one in transcripts.items()
        )
        return Shown(aligned[-1][1], aligned)

    paired = pairs(predictions.before, predictions.after)
    better = [pair for pair in paired if pair.change < 0]
    worse = [pair for pair in reversed(paired) if pair.change > 0]
    same = len(paired) - len(better) - len(worse)
    found = (
        Group(
            f"Most word errors {when} training",
            f"The {MOST_UTTERANCES} utterances with the most word errors, of {len(scored)}.",
            tuple(show(**{when: one}) for one in worst(scored, MOST_UTTERANCES)),
        ),
        Group(
            "Most improved",
            f"Of {len(paired)} utterances, {len(better)} have fewer word errors than before, {same} as many.",
            tuple(show(before=pair.before, after=pair.after) for pair in better[: MOST_UTTERANCES // 2]),
        ),
        Group(
            "Most worsened",
            f"Of {len(paired)} utterances, {len(worse)} have more word errors than before.",
            tuple(show(before=pair.before, after=pair.after) for pair in worse[: MOST_UTTERANCES // 2]),
        ),
    )
    return tuple(group for group in found if group.utterances)


def _flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and the value of every leaf, such as `evaluation.after.wer_interval.0`."""
    if isinstance(value, Mapping):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    else:
        yield path, value
        return
    for name, child in children:
        yield from _flatten(child, f"{path}.{name}" if path else str(name))


def _wer_series(report: RunReport, log: TrainingLog) -> list[Series]:
    """Return the WER while training, and the scores before and after, which may be of another split."""
    evaluation, train = report.evaluation, report.train
    series = [Series("while training", log.curve("eval_wer"))]
    if evaluation is not None:
        last = (train.best_step or train.steps) if train else 0
        scored = [(step, one) for step, one in ((0, evaluation.before), (last, evaluation.after)) if one]
        points = tuple((float(step), one.wer) for step, one in scored)
        intervals = tuple(one.wer_interval for _, one in scored)
        series.append(Series(f"scored on {evaluation.scored_split}", points, True, intervals))
    return [one for one in series if one.points]
