"""compare(): several runs beside each other, from what lies in their folders."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from whisper_peft.errors import RecipeError, StorageError, WhisperPeftError
from whisper_peft.evaluation.scoring import Counts, align_characters, bootstrap_interval, paired_interval
from whisper_peft.pipeline.runs.error_breakdown import normalizer_of
from whisper_peft.pipeline.runs.run_folder import RECIPE_FILE
from whisper_peft.recipe.sections import Recipe
from whisper_peft.recipe.yaml_files import read_recipe, recipe_yaml
from whisper_peft.reporting.json_lines import Predictions, read_predictions
from whisper_peft.reporting.pages.comparison_page import COMPARISON_FILE, write_comparison
from whisper_peft.reporting.run_report import EvaluationRecord, RunReport, read_report
from whisper_peft.reporting.values.comparison_values import (
    ComparedRun,
    ComparedScore,
    Comparison,
    Pair,
    Retained,
)
from whisper_peft.reporting.verdict import caution
from whisper_peft.types import EvalResult, Prediction, TrainResult

SAMPLES = 2000
"""Resamples of utterances behind each interval."""

FEWEST = 20
"""Utterances of a pair: resamples of fewer say little of how far off a difference may be."""

NOT_COMPARED = ("name", "output_dir")
"""Fields that say where a run is, not what it did."""


@dataclass(frozen=True)
class FoundRun:
    """A finished run as it lies in its folder."""

    name: str
    folder: Path
    report: RunReport
    evaluation: EvaluationRecord
    after: EvalResult
    train: TrainResult
    recipe: Recipe
    predictions: Predictions


def compare(runs: Sequence[str | Path], *, output_dir: str | Path | None = None) -> Comparison:
    """Put runs beside each other: rates, which differences are clear, costs, and the fields that differ.

    Nothing is transcribed again: all of it is read from the run folders.

    Args:
        runs: At least two run folders.
        output_dir: Folder for comparison.html, .md and .json; those of an earlier comparison are replaced.
            None: the first free `runs/comparison`.

    Raises:
        RecipeError: If there are not two different runs.
        StorageError: If any is no finished run, all of which are named, or nothing can be written.

    Example:
        >>> comparison = compare(["runs/lora", "runs/dora"])  # doctest: +SKIP
        >>> comparison.verdict()  # doctest: +SKIP
        'dora has the lowest WER, 18.21 %. Not told apart from it: lora.'
    """
    folders = [Path(run) for run in runs]
    _refuse_too_few(folders)
    folder = _output_folder(output_dir)
    found = _read_all(folders)
    comparison = Comparison(
        runs=tuple(map(_compared, found)),
        pairs=tuple(_pair(*two) for two in itertools.combinations(found, 2)),
        differences=differing_fields([one.recipe for one in found]),
        notes=tuple(_notes(found)),
        folder=str(folder),
    )
    write_comparison(comparison, folder)
    return comparison


def _refuse_too_few(folders: Sequence[Path]) -> None:
    places = [folder.resolve() for folder in folders]
    twice = next((folder for folder in folders if places.count(folder.resolve()) > 1), None)
    if twice is not None:
        raise RecipeError(f"{twice} was given twice", "a run is not compared with itself", "give other runs")
    if len(folders) < 2:
        given = f"only {folders[0]} was given" if folders else "no run was given"
        raise RecipeError(given, "a comparison needs two runs", "give the folders of several runs")


def _output_folder(output_dir: str | Path | None) -> Path:
    if output_dir is None:
        names = itertools.chain(["comparison"], (f"comparison-{number}" for number in itertools.count(2)))
        return next(path for path in map(Path("runs").joinpath, names) if not path.exists())
    folder = Path(output_dir)
    is_ours = (folder / COMPARISON_FILE).is_file()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not is_ours):
        raise StorageError(
            f"the folder {folder} is in use", "it holds no comparison", "give another --output-dir"
        )
    return folder


def _read_all(folders: Sequence[Path]) -> list[FoundRun]:
    """Read every run, or tell what is wrong with each that cannot be compared."""
    found, errors = [], []
    for name, folder in zip(short_names(folders), folders, strict=True):
        try:
            found.append(_read(name, folder))
        except WhisperPeftError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise StorageError("\n  ".join([f"{len(errors)} runs cannot be compared:", *map(str, errors)]))
    return found


def _read(name: str, folder: Path) -> FoundRun:
    report = read_report(folder)
    recipe = read_recipe(folder / RECIPE_FILE)
    evaluation, train = report.evaluation, report.train
    if evaluation is None or evaluation.after is None or train is None:
        raise StorageError(
            f"the run {folder} is not finished",
            "it has no score after training",
            f"go on: whisper-peft finetune {folder / RECIPE_FILE} --resume --output-dir {folder}",
        )
    predictions = read_predictions(folder)
    return FoundRun(name, folder, report, evaluation, evaluation.after, train, recipe, predictions)


def short_names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest end of each path that tells it from the others.

    Example:
        >>> short_names([Path("a/x"), Path("b/x"), Path("b/y")])
        ['a/x', 'b/x', 'y']
    """
    paths = [folder.resolve().parts for folder in folders]
    names = []
    for parts in paths:
        lengths = range(1, len(parts) + 1)
        ends = (parts[-length:] for length in lengths)
        unique = next(end for end in ends if sum(other[-len(end) :] == end for other in paths) == 1)
        names.append("/".join(unique))
    return names


def _compared(run: FoundRun) -> ComparedRun:
    before, after = run.evaluation.before, run.after
    earlier = {} if before is None else {name: one.wer for name, one in before.sources.items()}
    return ComparedRun(
        name=run.name,
        folder=str(run.folder),
        base=run.recipe.model.name,
        method=run.report.adapter.method if run.report.adapter else run.recipe.adapter.method,
        scored_on=f"{run.evaluation.scored_split}: {after.normalizer} normaliser, {after.audio_context} "
        "audio context",
        before=None if before is None else _score(before, run.predictions.before),
        after=_score(after, run.predictions.after),
        change=run.evaluation.difference_interval,
        retained=tuple(
            Retained(name, earlier.get(name), one.wer, one.wer_interval)
            for name, one in after.sources.items()
        ),
        trainable_parameters=run.train.trainable_parameters,
        train_seconds=run.train.train_seconds,
        peak_memory_bytes=run.train.peak_memory_bytes,
        rtfx=after.rtfx,
    )


def _score(result: EvalResult, predictions: Mapping[str, Prediction]) -> ComparedScore:
    bounds = None
    if len(predictions) == result.utterances:
        normalize = normalizer_of(result)
        rows = [(normalize(one.reference), normalize(one.hypothesis)) for one in predictions.values()]
        references, hypotheses = map(list, zip(*rows, strict=True))
        bounds = bootstrap_interval(align_characters(references, hypotheses), samples=SAMPLES)
    return ComparedScore(result.wer, result.wer_interval, result.cer, bounds, result.utterances)


def _pair(first: FoundRun, second: FoundRun) -> Pair:
    if refused := _unlike(first, second):
        return Pair(first.name, second.name, refused=refused)
    ones, others = first.predictions.after, second.predictions.after
    shared = [name for name in ones if name in others]
    difference = paired_interval(
        *([Counts.of(scored[name]) for name in shared] for scored in (ones, others)), samples=SAMPLES
    )
    note = None
    if len(shared) < max(len(ones), len(others)):
        sizes = f"{len(ones)} of {first.name} and {len(others)} of {second.name}"
        note = f"on the {len(shared)} utterances that both were scored on, of {sizes}"
    return Pair(
        first.name,
        second.name,
        len(shared),
        difference.difference,
        difference.interval,
        difference.share_lower,
        note,
    )


def _unlike(first: FoundRun, second: FoundRun) -> str | None:
    """Return why two runs were not scored on the same thing, if so."""
    for run in (first, second):
        if not run.predictions.after:
            return f"{run.folder} has no predictions after training"
    normalizers = [run.after.normalizer for run in (first, second)]
    if normalizers[0] != normalizers[1]:
        return f"they were scored with the normalisers {' and '.join(normalizers)}"
    ones, others = first.predictions.after, second.predictions.after
    shared = [name for name in ones if name in others]
    if not shared:
        return "no utterance was scored in both"
    if len(shared) < FEWEST:
        return f"only {len(shared)} utterances were scored in both, too few for an interval"
    same = [ones[name].reference == others[name].reference for name in shared]
    if not all(same):
        return f"{same.count(False)} of {len(shared)} utterances of the same name have other texts"
    return None


def differing_fields(recipes: Sequence[Recipe]) -> dict[str, tuple[str, ...]]:
    """Return the dotted fields that are not the same in all recipes, with their values.

    Example:
        >>> from whisper_peft.recipe.sections import TrainSection
        >>> differing_fields([Recipe(), Recipe(train=TrainSection(seed=7))])
        {'train.seed': ('42', '7')}
    """
    plain = [dict(_leaves(yaml.safe_load(recipe_yaml(recipe)))) for recipe in recipes]
    fields = dict.fromkeys(itertools.chain.from_iterable(plain))
    values = {field: tuple(one.get(field, "–") for one in plain) for field in fields}
    return {field: told for field, told in values.items() if len(set(told)) > 1 and field not in NOT_COMPARED}


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{path}{name}", text


def _notes(runs: Sequence[FoundRun]) -> Iterator[str]:
    machines = {(run.report.meta.cpu, run.report.meta.cores, run.report.meta.gpu) for run in runs}
    if len(machines) > 1:
        yield "The runs were made on different machines: their times and memory cannot be compared."
    processes = {run.train.world_size for run in runs}
    if len(processes) > 1:
        yield "The runs had different numbers of processes, which their times and memory depend on."
    contexts = {run.after.audio_context for run in runs}
    if len(contexts) > 1:
        yield "The runs were scored at different audio contexts, which is a part of every difference."
    pairs = len(runs) * (len(runs) - 1) // 2
    if pairs > 1:
        yield (
            f"{pairs} pairs are compared: of differences that are none, one in twenty looks clear by chance."
        )
    for run in runs:
        if warning := caution(run.report):
            yield f"{run.name}: {warning}"
