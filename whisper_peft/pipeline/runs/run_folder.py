"""The folder of a run: where it is, who may write there, and what a stopped run left in it.

```
recipe.yaml        re-runs as it is           report.json   everything measured
log.jsonl          a line for each step       predictions.jsonl   a line for each scored utterance
training_words.json   how often scored words stand in the training text
suspicious.csv     training rows to check, where any stand out
corrections.csv    data.corrections as the run learned them, where there are any
checkpoints/       to resume from             best/         lowest WER while training
run.lock           who is at work there
adapter/ (model/)  what was learned           merged/       the model that ships
tensorboard/       event files                README.md, report.html   views of report.json
```
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import yaml

from whisper_peft.errors import ResumeError, StorageError
from whisper_peft.pipeline.corpora.nearest_language import NEAREST
from whisper_peft.pipeline.runs.run_lock import RunLock
from whisper_peft.recipe.paths import with_absolute_paths
from whisper_peft.recipe.sections import MixedSource, Recipe
from whisper_peft.recipe.yaml_files import read_recipe, recipe_yaml
from whisper_peft.reporting.json_lines import PREDICTIONS_FILE, SCORED
from whisper_peft.reporting.run_report import REPORT_FILE, EvaluationRecord
from whisper_peft.training.checkpoints import list_checkpoints
from whisper_peft.training.run_checkpoints import CHECKPOINTS
from whisper_peft.types import EvalResult, Prediction

RECIPE_FILE, ADAPTER, MODEL, MERGED = "recipe.yaml", "adapter", "model", "merged"

LEAST_FREE_BYTES = 256 * 2**20
"""A run does not start with less free disk: adapter, optimiser moments and logs of a small model."""

FREE_TO_CHANGE = {
    "train": (
        "checkpoint_steps",
        "keep_checkpoints",
        "workers",
        "data_timeout_s",
        "tensorboard",
        "encoder_cache_gib",
        "encoder_cache_folder",
    ),
    "eval": ("batch_size", "short_context", "health"),
    "model": ("device",),
}
"""Fields that a resumed run may have otherwise: they change no weight."""

Resume: TypeAlias = Literal["auto"] | bool
"""Whether a run goes on from one that was stopped; auto: where its folder holds one, and starts otherwise."""


def run_of(run_or_model: str | Path) -> str | Path:
    """Return the run that its adapter/, model/ or merged/ is part of, and anything else as it is.

    Example:
        >>> run_of("openai/whisper-base")
        'openai/whisper-base'
    """
    path = Path(run_or_model).expanduser()
    run = path.resolve().parent
    is_part = path.name in (ADAPTER, MODEL, MERGED) and (run / RECIPE_FILE).is_file()
    return run if is_part else run_or_model


@dataclass(frozen=True)
class RunFolder:
    """Where a run writes.

    Attributes:
        path: The folder.
        resumes: Whether the run goes on from what is there.
        sentences: What there is to say of it.
    """

    path: Path
    resumes: bool
    sentences: tuple[str, ...] = ()


def choose_folder(recipe: Recipe, lock: RunLock, *, resume: Resume) -> RunFolder:
    """Take the run folder: the one given, or the first free `runs/NAME`, `runs/NAME-2` and so on.

    A run that is resumed without a folder given is the one in `runs/NAME`.

    Args:
        recipe: What to do.
        lock: Holds the folder from now on.
        resume: Whether to go on from what is there.

    Raises:
        StorageError: If the folder holds another run, is in use, or nothing can be written there.
        ResumeError: If there is nothing to resume, or it is a run of another recipe.
    """
    folder = recipe.output_dir
    if folder is None:
        folder = Path("runs") / recipe.name if resume else _first_free(recipe.name)
    if folder.exists() and not folder.is_dir():
        raise StorageError(
            f"output_dir {folder} is a file", "a run needs a folder", "give another --output-dir"
        )
    resumes = bool(resume) if resume != "auto" else (folder / RECIPE_FILE).is_file()
    if resumes and not (folder / RECIPE_FILE).is_file():
        raise ResumeError(
            f"{folder} has no run to resume",
            f"it has no {RECIPE_FILE}",
            "give the run's folder as --output-dir, or use --resume auto",
        )
    sentence = _taken(folder, lock)
    if resumes:
        _refuse_other_recipe(recipe, read_recipe(folder / RECIPE_FILE), folder)
        _refuse_other_corrections(recipe.data.corrections, folder)
    else:
        _refuse_used(folder)
    _refuse_full_disk(folder)
    return RunFolder(folder, resumes, (sentence,) if sentence else ())


def _first_free(name: str) -> Path:
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(path for path in map(Path("runs").joinpath, names) if not path.exists())


def _taken(folder: Path, lock: RunLock) -> str | None:
    try:
        return lock.take(folder)
    except OSError as error:
        raise StorageError(
            f"output_dir {folder} cannot be written",
            error.strerror or str(error),
            "give another --output-dir",
        ) from error


def _refuse_used(folder: Path) -> None:
    if any((folder / name).exists() for name in (RECIPE_FILE, REPORT_FILE, CHECKPOINTS)):
        raise StorageError(
            f"output_dir {folder} holds another run",
            "a run never overwrites one",
            "give another --output-dir, or go on with that run by --resume",
        )


def _refuse_full_disk(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        raise StorageError(
            f"the disk of output_dir {folder} has {free / 2**20:.0f} MiB free",
            f"a run wants at least {LEAST_FREE_BYTES / 2**20:.0f} MiB",
            "free some space, or give an --output-dir on another disk",
        )


def _refuse_other_recipe(recipe: Recipe, stored: Recipe, folder: Path) -> None:
    changed = differences(recipe, stored)
    if changed:
        field, (now, then) = next(iter(changed.items()))
        raise ResumeError(
            f"{', '.join(changed)} differ from the run in {folder} (such as {field}: {now}, was {then})",
            "a resumed run ends at the same weights as one that was never stopped",
            f"resume with {folder / RECIPE_FILE}, or {_instead_of_resuming(folder)}",
        )


def keep_corrections(corrections: Path | None, folder: Path) -> None:
    """Copy the corrections of a run into its folder: their file is the user's, who may go on with it."""
    if corrections is not None:
        shutil.copyfile(corrections.expanduser(), _kept_corrections(corrections, folder))


def _kept_corrections(corrections: Path, folder: Path) -> Path:
    return folder / f"corrections{corrections.suffix}"


def _refuse_other_corrections(corrections: Path | None, folder: Path) -> None:
    kept = None if corrections is None else _kept_corrections(corrections, folder)
    if corrections is None or kept is None or not kept.is_file() or not corrections.expanduser().is_file():
        return
    if kept.read_bytes() != corrections.expanduser().read_bytes():
        raise ResumeError(
            f"data.corrections {corrections} is not what it was in the run in {folder}",
            "a resumed run ends at the same weights as one that was never stopped",
            f"put {kept} in its place, or {_instead_of_resuming(folder)}",
        )


def _instead_of_resuming(folder: Path) -> str:
    for flag, learned in (("--adapter.init", folder / ADAPTER), ("--model.name", folder / MODEL)):
        if learned.is_dir():
            return f"train on: {flag} {learned}"
    return "give a new run another --output-dir"


def differences(recipe: Recipe, stored: Recipe) -> dict[str, tuple[object, object]]:
    """Return the dotted fields that change the outcome and differ, with both values.

    Splits, names and text cases that nobody named do not count: the stored recipe holds what was found.
    """
    mine, theirs = (yaml.safe_load(recipe_yaml(with_absolute_paths(one))) for one in (recipe, stored))
    unnamed = {"train", "eval", "dev", "text_case"} - recipe.data.model_fields_set
    free = {**FREE_TO_CHANGE, "data": tuple(unnamed)}
    if recipe.model.language == NEAREST:
        free["model"] = (*FREE_TO_CHANGE["model"], "language")
    _take_what_was_found(mine["data"]["mix"], theirs["data"]["mix"], recipe.data.mix)
    return {
        f"{section}.{field}": (value, theirs[section][field])
        for section, fields in mine.items()
        if isinstance(fields, dict)
        for field, value in fields.items()
        if value != theirs[section][field] and field not in free.get(section, ())
    }


def _take_what_was_found(
    mine: list[dict[str, object]], theirs: list[dict[str, object]], mix: Sequence[MixedSource]
) -> None:
    for one, stored, mixed in zip(mine, theirs, mix, strict=False):
        unnamed = {"name", "train", "eval", "text_case"} - mixed.model_fields_set
        one.update({field: stored[field] for field in unnamed})


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a run, if it has one."""
    found = list_checkpoints(folder / CHECKPOINTS)
    return found[-1] if found else None


def where_it_stands(folder: Path, *, trained: bool) -> str:
    """Return the sentence on a run that was stopped at once: what is lost, and how to go on."""
    go_on, saved = f"--resume --output-dir {folder}", latest_checkpoint(folder)
    if trained:
        return f"stopped after training, nothing that was learned is lost; to score it: {go_on}"
    if saved:
        return f"stopped while training, {saved.name} is saved; to go on from there: {go_on}"
    if (folder / RECIPE_FILE).is_file():
        return f"stopped before training, nothing is lost; to start again: {go_on}"
    return "stopped before anything was written"


def write_predictions(folder: Path, record: EvaluationRecord) -> None:
    """Write `predictions.jsonl` anew: each utterance each time that it was scored."""
    path = folder / PREDICTIONS_FILE
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as lines:
        for when in SCORED:
            result: EvalResult | None = getattr(record, when)
            for one in (result, *result.sources.values()) if result else ():
                lines.writelines(_line(when, prediction) for prediction in one.predictions)
        lines.flush()
        os.fsync(lines.fileno())
    partial.replace(path)


def _line(when: str, prediction: Prediction) -> str:
    return json.dumps({"when": when, **prediction.to_dict()}, ensure_ascii=False) + "\n"
