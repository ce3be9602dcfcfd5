"""The card and the page of a run, with what can be played in it."""

from __future__ import annotations

from pathlib import Path

from whisper_peft.errors import RecipeError
from whisper_peft.pipeline.runs.error_breakdown import break_down_run
from whisper_peft.pipeline.runs.page_recordings import page_recordings
from whisper_peft.pipeline.runs.run_folder import RECIPE_FILE
from whisper_peft.pipeline.runs.training_seen import training_seen
from whisper_peft.recipe.sections import Recipe
from whisper_peft.recipe.yaml_files import read_recipe, refuse_held_in_memory
from whisper_peft.reporting.pages.model_card import write_model_card
from whisper_peft.reporting.pages.recordings import NO_RECORDINGS, Recordings
from whisper_peft.reporting.pages.run_page import write_page
from whisper_peft.reporting.run_report import read_report, write_report
from whisper_peft.reporting.values.augmentation_values import SoundClips


def write_views(folder: Path, recordings: Recordings, sounds: SoundClips | None = None) -> Path:
    """Write card and page of a run from what lies in its folder; return the page.

    Args:
        folder: The run folder.
        recordings: What the page plays of the scored speech.
        sounds: What it plays and shows of augmented speech.

    Raises:
        StorageError: If there is no report, it is damaged, or nothing can be written.
    """
    write_model_card(read_report(folder).to_dict(), folder)
    return write_page(folder, recordings, sounds)


def report(run: str | Path, *, audio: bool = True) -> Path:
    """Write the card and the page of a run anew from its `report.json`, and return the page.

    The errors by kind are made again from `predictions.jsonl`, the curves from `log.jsonl`, where the model
    changed from its weights, and all are put into `report.json`.

    Args:
        run: Run folder.
        audio: Whether the page holds recordings of the scored speech, as far as they can be found. Without,
            it can be shown to those who may not hear them.

    Raises:
        StorageError: If there is no report, or it is damaged.
        RecipeError: If there is no recipe, or it is damaged.
    """
    folder = Path(run)
    found, recipe = read_report(folder), read_recipe(folder / RECIPE_FILE)
    seen = training_seen(folder, recipe, found)
    found = found.model_copy(update=seen.blocks)
    if found.evaluation is not None:
        breakdown = break_down_run(folder, found.evaluation, recipe.eval.bootstrap_samples)
        evaluation = found.evaluation.model_copy(update={"breakdown": breakdown})
        found = found.model_copy(update={"evaluation": evaluation})
    write_report(found, folder)
    if not audio:
        return write_views(folder, NO_RECORDINGS, {})
    return write_views(folder, _recordings(folder, recipe), seen.sounds)


def _recordings(folder: Path, recipe: Recipe) -> Recordings:
    try:
        refuse_held_in_memory(recipe)
    except RecipeError as error:
        return Recordings(notes=(f"The recordings cannot be played here: {error}",))
    return page_recordings(folder, recipe.data)
