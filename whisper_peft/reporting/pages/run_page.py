"""`report.html`: one self-contained page that reads offline, without JavaScript, on paper and on a phone.

Nothing runs in it but its own few lines for sorting: a policy in the page names their digest, so that a text
which holds a script could not run even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from whisper_peft.reporting import figures, health_views
from whisper_peft.reporting.breakdown_views import (
    FEW,
    change_word,
    confusion_tables,
    dimensions,
    not_measured,
    reliability,
)
from whisper_peft.reporting.json_lines import Predictions, read_predictions
from whisper_peft.reporting.learned_speech import learned_text
from whisper_peft.reporting.mixed_scores import mixed_scores
from whisper_peft.reporting.pages.recordings import NO_RECORDINGS, Recordings
from whisper_peft.reporting.pages.suspects import MOST_SHOWN, SuspectRow, read_suspects
from whisper_peft.reporting.pages.utterances import changed_most, shown_utterances
from whisper_peft.reporting.plots.curve_views import curve_plots, curve_rows
from whisper_peft.reporting.plots.heat_maps import heat_maps
from whisper_peft.reporting.probe_views import probe_rows, speech_of_long_form
from whisper_peft.reporting.run_report import RunReport, read_report, write_text
from whisper_peft.reporting.style_drift import STYLE_MEASURES, style_drift
from whisper_peft.reporting.values.augmentation_values import SoundClips
from whisper_peft.reporting.verdict import caution, training_skips, verdict

PAGE_FILE = "report.html"
RECIPE_FILE = "recipe.yaml"

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


NO_CURVES = "report.json holds no curves yet: whisper-peft report makes them from log.jsonl."


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
        if isinstance(value, str):  # as JSON has what is not finite
            return Markup('<span data-path="{}">{}</span>').format(path, print_value(float(value)))
        return Markup('<data value="{}" data-path="{}">{}</data>').format(
            value, path, print_value(float(value))
        )


def write_page(
    run_folder: Path, recordings: Recordings = NO_RECORDINGS, sounds: SoundClips | None = None
) -> Path:
    """Write `report.html` into a run folder, from what else lies there.

    A missing or damaged recipe or list of predictions leaves a note on the page.

    Args:
        run_folder: The run folder.
        recordings: What can be played of the scored speech.
        sounds: What can be played and seen of augmented speech.

    Raises:
        StorageError: If `report.json` is missing or damaged, or the page cannot be written.

    Example:
        >>> write_page(Path("runs/demo"))  # doctest: +SKIP
        PosixPath('runs/demo/report.html')
    """
    report = read_report(run_folder)
    recipe = run_folder / RECIPE_FILE
    recipe_text = recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else None
    page = render_page(
        report,
        read_predictions(run_folder),
        recipe_text=recipe_text,
        suspects=read_suspects(run_folder),
        recordings=recordings,
        sounds=sounds or {},
    )
    return write_text(run_folder / PAGE_FILE, page)


def render_page(
    report: RunReport,
    predictions: Predictions,
    *,
    recipe_text: str | None,
    suspects: tuple[SuspectRow, ...] = (),
    recordings: Recordings = NO_RECORDINGS,
    sounds: SoundClips | None = None,
) -> str:
    """Return the page as HTML; every text in it is escaped."""
    templates = Environment(
        loader=PackageLoader("whisper_peft.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = templates.get_template("report/utterances.js").render()
    page = templates.get_template("page.html")
    return page.render(
        **_outcome(report),
        **_errors(report, predictions),
        **_learning(report),
        figure=Figures({**report.to_dict(), "difference": differences(report)}),
        form=figures,
        health=health_views,
        sounds=sounds or {},
        notes=(*(report.curves.notes if report.curves else (NO_CURVES,)), *predictions.notes),
        recipe_text=recipe_text,
        suspects=suspects,
        most_suspects=MOST_SHOWN,
        recordings=recordings,
        clips_bytes=sum(len(clip.audio) for clip in recordings.scored.values()),
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


def _outcome(report: RunReport) -> dict[str, Any]:
    """Return what the sections on the run as a whole show."""
    return {
        "report": report,
        "evaluation": report.evaluation,
        "train": report.train,
        "rates": RATES,
        "counts": COUNTS,
        "style_measures": STYLE_MEASURES,
        "style_drift": style_drift(report.evaluation),
        "verdict": verdict(report.evaluation),
        "mixed_scores": mixed_scores(report),
        "probe_rows": probe_rows(report.evaluation),
        "long_form_speech": speech_of_long_form(report.evaluation),
        "caution": caution(report),
        "training_skips": training_skips(report),
        "learned_text": learned_text,
        "axis_end": axis_end(report),
    }


def _errors(report: RunReport, predictions: Predictions) -> dict[str, Any]:
    """Return what the sections on errors show, in general and utterance by utterance."""
    breakdown = report.evaluation.breakdown if report.evaluation else None
    shown = shown_utterances(predictions, normalizer_of(report))
    times = {"before": predictions.before, "after": predictions.after}
    return {
        "breakdown": breakdown,
        "dimensions": tuple(dimensions(breakdown)) if breakdown else (),
        "confusions": tuple(confusion_tables(breakdown)) if breakdown else (),
        "reliability": reliability(breakdown) if breakdown else None,
        "not_measured": not_measured(breakdown) if breakdown else (),
        "change_word": change_word,
        "few": FEW,
        "whens": tuple(when for when, rows in times.items() if rows),
        "utterances": shown,
        "scored_count": len(predictions.after or predictions.before),
        "changed": changed_most(shown, predictions),
    }


def _learning(report: RunReport) -> dict[str, Any]:
    """Return what the sections on training and on the adapter show."""
    updates = report.adapter.updates if report.adapter else None
    return {
        "log_plots": curve_plots(report),
        "curve_rows": curve_rows(report),
        "stages": stages(report),
        "updates": updates,
        "heat_maps": heat_maps(updates) if updates else (),
    }


def stages(report: RunReport) -> tuple[str, ...]:
    """Return the stages that were expected, then those that came unexpected."""
    priced = [block.stages for block in (report.forecast, report.cost) if block]
    return tuple(dict.fromkeys(name for block in priced for name in block))


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


def normalizer_of(report: RunReport) -> Callable[[str], str]:
    """Return the normaliser that the run was scored with."""
    evaluation = report.evaluation
    latest = (evaluation.after or evaluation.before) if evaluation else None
    if latest is None:
        return str
    # Imported here because Whisper's normalisers come with transformers, and printing a summary needs none.
    from whisper_peft.evaluation.normalizers import get_normalizer

    return get_normalizer(latest.normalizer, latest.language)


def _flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and the value of every leaf, such as `evaluation.after.wer_interval.0`."""
    if isinstance(value, Mapping):
        children = list(value.items())
    elif isinstance(value, list | tuple):
        children = list(enumerate(value))
    else:
        yield path, value
        return
    for name, child in children:
        yield from _flatten(child, f"{path}.{name}" if path else str(name))
