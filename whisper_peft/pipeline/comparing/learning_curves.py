"""learning_curve(): the same recipe on growing parts of its speech, and where that leads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_peft.errors import RecipeError, StorageError
from whisper_peft.evaluation.resampling import percentile_interval, resampled_rates
from whisper_peft.pipeline.runs.finetuning import finetune
from whisper_peft.pipeline.runs.run_folder import RECIPE_FILE, differences
from whisper_peft.pipeline.runs.transcript_store import take_over_transcripts
from whisper_peft.recipe.catalog import resolve_recipe
from whisper_peft.recipe.overrides import apply_overrides, given_overrides
from whisper_peft.recipe.sections import Recipe
from whisper_peft.recipe.yaml_files import read_recipe
from whisper_peft.reporting.json_lines import read_predictions
from whisper_peft.reporting.run_report import REPORT_FILE, RunReport, read_report, write_text
from whisper_peft.reporting.values.learning_curve_values import (
    AHEAD,
    Expectation,
    FittedLaw,
    LearningCurve,
    LearningPoint,
    fit_power_law,
    write_learning_curve_plot,
)

SHARES = (0.1, 0.3, 1.0)
SAMPLES = 2000
"""Resamples of utterances behind each interval."""

CURVE_FILE, CURVE_PLOT = "learning_curve.json", "learning_curve.svg"

DRAWN_AT = 24
"""Places where the law is drawn between the least speech and all of it."""


@dataclass(frozen=True)
class CurveRun:
    """A finished run on a share of the speech; errors and words of each scored utterance, in one order."""

    share: float
    report: RunReport
    errors: NDArray[np.int64]
    words: NDArray[np.int64]
    names: tuple[str, ...]


def learning_curve(
    recipe: str | Path | Recipe,
    *,
    shares: Sequence[float] = SHARES,
    seeds: Sequence[int] = (),
    model: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    augment: Mapping[str, Any] | None = None,
    targets: Mapping[str, Any] | None = None,
    adapter: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    eval: Mapping[str, Any] | None = None,
    output_dir: str | Path | None = None,
) -> LearningCurve:
    """Learn from growing parts of the speech, whole speakers at a time, and fit how the WER falls.

    Each part lies within the next (`data.train_share`). A curve that was stopped goes on: finished runs in
    `output_dir` are read, one that was interrupted is resumed. Nothing is merged.

    Args:
        recipe: A recipe, the name of one, or a YAML file.
        shares: Parts of the training split, at least two.
        seeds: Seeds to run each share with. Empty: the recipe's own.
        model: Fields of the section to override, as in `finetune`. So for the other sections.
        data: Overrides.
        augment: Overrides.
        targets: Overrides.
        adapter: Overrides.
        train: Overrides.
        eval: Overrides.
        output_dir: Folder of the runs and of the plot. None: `runs/NAME-curve`.

    Raises:
        WhisperPeftError: With what is wrong, why, and what to do.

    Example:
        >>> curve = learning_curve("lora-librispeech", data={"source": "LibriSpeech"})  # doctest: +SKIP
        >>> print(curve.text())  # doctest: +SKIP
    """
    sections = {"model": model, "data": data, "augment": augment, "targets": targets, "adapter": adapter}
    chosen = resolve_recipe(recipe, given_overrides(**sections, train=train, eval=eval))
    _refuse_unfit(shares)
    folder = Path(output_dir or chosen.output_dir or f"runs/{chosen.name}-curve")
    found = [
        _run(
            chosen, share, seed, folder, scores_before=(place, seed) == (0, (seeds or [chosen.train.seed])[0])
        )
        for place, share in enumerate(sorted(set(shares)))
        for seed in (seeds or [chosen.train.seed])
    ]
    curve = curve_of(found, chosen.name, folder)
    write_text(folder / CURVE_FILE, json.dumps(curve.to_dict(), indent=2, ensure_ascii=False) + "\n")
    write_learning_curve_plot(curve, folder / CURVE_PLOT)
    return curve


def _refuse_unfit(shares: Sequence[float]) -> None:
    wrong = [share for share in shares if not 0 < share <= 1]
    if wrong or len(set(shares)) < 2:
        what = f"share {wrong[0]:g}" if wrong else f"{len(set(shares))} share"
        raise RecipeError(
            f"{what} was asked for", "a curve needs two or more, over 0 and up to 1", "such as 0.1 0.3 1"
        )


def _run(recipe: Recipe, share: float, seed: int, folder: Path, *, scores_before: bool) -> CurveRun:
    """Run a share, or read what an earlier call has run."""
    place = folder / f"share-{100 * share:g}-seed-{seed}"
    fields = {
        "data.train_share": share,
        "train.seed": seed,
        "eval.before": scores_before,
        "eval.short_context": False,
        "eval.health": "off",
        "merge.enabled": False,
        "output_dir": place,
    }
    wanted = apply_overrides(recipe, fields)
    if not is_finished(place, wanted):
        take_over_transcripts(place, folder.glob("share-*"))
        finetune(wanted, resume="auto")
    return _read(share, place)


def is_finished(folder: Path, recipe: Recipe) -> bool:
    """Tell whether a folder holds a finished run of a recipe.

    Raises:
        StorageError: If it is one of another recipe.
    """
    if not (folder / REPORT_FILE).is_file() or not (folder / RECIPE_FILE).is_file():
        return False
    report = read_report(folder)
    if report.evaluation is None or report.evaluation.after is None or report.run.finished_at is None:
        return False
    if changed := differences(recipe, read_recipe(folder / RECIPE_FILE)):
        raise StorageError(
            f"{folder} holds a run with other {', '.join(changed)}",
            "its figures would stand beside those of this recipe",
            "give another --output-dir",
        )
    return True


def _read(share: float, folder: Path) -> CurveRun:
    scored = sorted(read_predictions(folder).after.items())
    if not scored:
        raise StorageError(f"{folder} has no predictions", "the run was stopped", "run the curve again")
    errors = [one.substitutions + one.deletions + one.insertions for _, one in scored]
    words = [one.hits + one.substitutions + one.deletions for _, one in scored]
    names = tuple(name for name, _ in scored)
    return CurveRun(share, read_report(folder), np.array(errors), np.array(words), names)


def curve_of(runs: Sequence[CurveRun], name: str, folder: Path) -> LearningCurve:
    """Return the curve through finished runs, ordered by share.

    Raises:
        StorageError: If they were not scored on the same utterances, or how much they heard is not known.
    """
    if len({run.names for run in runs}) > 1:
        raise StorageError("the runs were scored on other utterances", "", "give another --output-dir")
    shares = list(dict.fromkeys(run.share for run in runs))
    rates = _rates(runs, shares)
    heard = [next(run for run in runs if run.share == share).report.data for share in shares]
    hours = [one.hours for one in heard if one is not None and one.hours]
    if len(hours) < len(shares):
        raise StorageError("how much was heard is not known", "the source is a stream", "store it first")
    law = fit_power_law(hours, rates)
    evaluation = runs[0].report.evaluation
    before = evaluation.before if evaluation else None
    split = evaluation.scored_split if evaluation else ""
    exponent, bounds = law.exponent
    return LearningCurve(
        recipe=name,
        scored_on=f"{split} ({len(runs[0].names)} utterances)",
        untuned_wer=before.wer if before else None,
        points=tuple(
            LearningPoint(
                share,
                hours[place],
                (one.utterances or 0) if one else 0,
                sum(run.share == share for run in runs),
                float(rates[0, place]),
                percentile_interval(rates[1:, place]),
            )
            for place, (share, one) in enumerate(zip(shares, heard, strict=True))
        ),
        exponent=exponent,
        exponent_interval=bounds,
        expected=_expected(law, hours),
        folder=str(folder),
    )


def _rates(runs: Sequence[CurveRun], shares: Sequence[float]) -> NDArray[np.float64]:
    """Return the WER of each share, exact and behind it resampled, shape `(1 + samples, shares)`.

    Every resample draws the same utterances for all runs, and for each share as many of its runs as it has.
    """
    errors, words = np.stack([run.errors for run in runs]), np.stack([run.words for run in runs])
    resampled = resampled_rates(errors, words, SAMPLES, seed=0)
    exact = errors.sum(axis=1) / words.sum(axis=1)
    rng = np.random.default_rng(0)
    columns = []
    for share in shares:
        mine = [place for place, run in enumerate(runs) if run.share == share]
        drawn = rng.choice(mine, size=(SAMPLES, len(mine)))
        means = np.take_along_axis(resampled, drawn, axis=1).mean(axis=1)
        columns.append(np.concatenate([[exact[mine].mean()], means]))
    return np.stack(columns, axis=1)


def _expected(law: FittedLaw, hours: Sequence[float]) -> tuple[Expectation, ...]:
    between = np.geomspace(min(hours), max(hours), DRAWN_AT)
    return tuple(law.at(float(one)) for one in (*between, *(times * max(hours) for times in AHEAD)))
