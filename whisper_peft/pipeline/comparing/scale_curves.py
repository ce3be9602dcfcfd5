"""`scale_curve`: one adapter at several scales, on the speech it was tuned for and on other speech."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from whisper_peft.data.sources.mixed_sources import NamedSource
from whisper_peft.data.sources.opening import open_split
from whisper_peft.data.sources.source_names import mixed_names
from whisper_peft.errors import RecipeError
from whisper_peft.model.adapters.scales import refuse_unscalable, scaled
from whisper_peft.model.loading import load_run_or_model
from whisper_peft.pipeline.corpora.nearest_language import settle_language
from whisper_peft.pipeline.operations import recipe_of, score_rows
from whisper_peft.pipeline.runs.mixed_speech import open_mixed_evals
from whisper_peft.recipe.overrides import apply_overrides, given_overrides, recipe_error
from whisper_peft.recipe.sections import DataSection, MixedSource, Recipe
from whisper_peft.reporting.values.scale_curve_values import ScaleCurve, ScalePoint
from whisper_peft.types import EvalResult

SCALES = (0.0, 0.25, 0.5, 0.7, 0.85, 1.0)


def scale_curve(
    run: str | Path,
    *,
    scales: Sequence[float] = SCALES,
    retention: Mapping[str, Any] | None = None,
    tolerance: float = 0.005,
    model: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    eval: Mapping[str, Any] | None = None,
) -> ScaleCurve:
    """Score an adapter at several scales of its update, on its own speech and on speech to retain.

    The model is loaded once. Both sets are scored as `evaluate` scores them.

    Args:
        run: A run or adapter folder with a LoRA adapter.
        scales: Factors of the update: 0 is the base, 1 the adapter as it was trained.
        retention: Speech that should still be understood: fields of `data.mix` such as
            `{"source": "my/english", "eval": "test", "language": "en"}`. None: the run's first mixed source.
        tolerance: How much the WER there may rise for a scale to be recommended, as a fraction.
        model: Fields of the section to override.
        data: Overrides of the speech that it was tuned for.
        eval: Overrides, such as `{"max_utterances": 100}`.

    Raises:
        WhisperPeftError: With what is wrong, why, and what to do.

    Example:
        >>> curve = scale_curve("runs/demo", retention={"source": "my/english"})  # doctest: +SKIP
        >>> curve.recommendation()  # doctest: +SKIP
        'Use a scale of 0.7: ...'
    """
    _refuse_unfit(scales, tolerance)
    given = given_overrides(model=model, data=data, eval=eval)
    overrides = {name: dict(fields) for name, fields in given.items()}
    recipe = recipe_of(run, overrides)
    target, kept = open_split(recipe.data, "eval"), _open_retention(recipe.data, retention)
    whisper = load_run_or_model(str(run), apply_overrides(Recipe(), overrides).model)
    refuse_unscalable(whisper)
    told = settle_language(recipe.model.language, target, whisper)
    recipe, target = told.recipe(recipe), told.source(target)
    points, counts, score = [], (0, 0), partial(score_rows, console=Console(stderr=True))
    for scale in sorted(set(scales)):
        with scaled(whisper, scale):
            tuned_for = score(whisper, target, recipe, f"scale {scale:g}")
            retained = score(whisper, kept, recipe, f"scale {scale:g}, {kept.label}") if kept else None
        points.append(_point(scale, tuned_for, retained))
        counts = (tuned_for.utterances, retained.utterances if retained else 0)
    (name,) = mixed_names((MixedSource(source=recipe.data.source),))
    label = kept.label if kept else None
    return ScaleCurve(str(run), name, counts[0], label, counts[1], tuple(points), tolerance)


def _refuse_unfit(scales: Sequence[float], tolerance: float) -> None:
    wrong = [scale for scale in scales if not 0 <= scale < float("inf")]
    if wrong or not scales:
        what = f"scale {wrong[0]}" if wrong else "no scale"
        raise RecipeError(f"{what} was asked for", "a scale is 0 or more", "give some such as 0 0.5 1")
    if not 0 <= tolerance < 1:
        raise RecipeError(
            f"tolerance is {tolerance}",
            "it is a fraction of words",
            "give one such as 0.005, for half a point",
        )


def _open_retention(section: DataSection, fields: Mapping[str, Any] | None) -> NamedSource | None:
    """Open the speech to retain; None where there is none."""
    mix = section.mix
    if fields is not None:
        try:
            mix = (MixedSource.model_validate({**fields, "train": None}),)
        except ValidationError as error:
            raise recipe_error(error, origin="retention") from None
    opened = open_mixed_evals(section.model_copy(update={"mix": mix}))
    return opened[0] if opened else None


def _point(scale: float, target: EvalResult, kept: EvalResult | None) -> ScalePoint:
    if kept is None:
        return ScalePoint(scale, target.wer, target.wer_interval)
    return ScalePoint(scale, target.wer, target.wer_interval, kept.wer, kept.wer_interval)
