"""What a finished run shows of its training: curves, where the model changed, augmented speech."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisper_peft.deploy.adapters.weight_differences import state_of
from whisper_peft.errors import WhisperPeftError
from whisper_peft.model.adapters.attaching import starting_state
from whisper_peft.model.adapters.folders import read_adapter_config
from whisper_peft.model.adapters.weight_updates import folder_updates, model_updates, nonzero_start
from whisper_peft.model.loading import load_whisper
from whisper_peft.pipeline.runs.augmented_speech import run_augmentations
from whisper_peft.pipeline.runs.run_folder import ADAPTER, MODEL
from whisper_peft.recipe.sections import ModelSection, Recipe
from whisper_peft.reporting.json_lines import read_curves
from whisper_peft.reporting.run_report import RunReport
from whisper_peft.reporting.values.augmentation_values import SoundClips
from whisper_peft.update_types import WeightUpdates, sum_up

logger = logging.getLogger(__name__)

EXACT = {"precision": "fp32", "quantize": "none", "device": "cpu"}
"""Weights are compared as they are."""


@dataclass(frozen=True)
class TrainingSeen:
    """Blocks of the report, and what can be heard and seen beside them."""

    blocks: dict[str, Any]
    sounds: SoundClips


def training_seen(folder: Path, recipe: Recipe, report: RunReport) -> TrainingSeen:
    """Return what a run folder tells of its training.

    Args:
        folder: The run folder.
        recipe: Its recipe.
        report: Its report so far.
    """
    blocks: dict[str, Any] = {"curves": read_curves(folder)}
    if report.adapter is not None:
        updates = _updates(folder, recipe)
        blocks["adapter"] = report.adapter.model_copy(update={"updates": updates})
    augmented = run_augmentations(recipe)
    if augmented is None:
        return TrainingSeen(blocks, {})
    return TrainingSeen({**blocks, "augmentation": augmented.record}, augmented.clips)


def _updates(folder: Path, recipe: Recipe) -> WeightUpdates | None:
    """Return where the model changed, or why that is not told; None where no weights were saved."""
    try:
        if (folder / ADAPTER).is_dir():
            return _learned(folder / ADAPTER, recipe)
        if not (folder / MODEL).is_dir():
            return None
        base, tuned = (
            load_whisper(recipe.model.model_copy(update={**EXACT, "name": name}))
            for name in (recipe.model.name, str(folder / MODEL))
        )
        return model_updates(state_of(base.core), state_of(tuned.core))
    except WhisperPeftError as error:
        return sum_up("update", [], (f"where the model changed is not told: {error}",))


def _learned(adapter: Path, recipe: Recipe) -> WeightUpdates:
    """Return the adapter's update less the one it began with; with it where that is not found again."""
    start = nonzero_start(read_adapter_config(adapter, tell=False)) or _recorded_start(recipe)
    if start is None:
        return folder_updates(adapter)
    try:
        began = starting_state(load_whisper(_on_the_cpu(recipe.model)), adapter, start)
    except WhisperPeftError as error:
        logger.info("what %s began with is not told: %s", adapter, error)
        return folder_updates(adapter, start=start)
    return folder_updates(adapter, start=start, began=began)


def _on_the_cpu(model: ModelSection) -> ModelSection:
    """Return the same base where there is room: the accelerator may hold the tuned model still."""
    precision = "fp32" if model.precision == "fp16" else model.precision
    return model.model_copy(update={"device": "cpu", "precision": precision})


def _recorded_start(recipe: Recipe) -> str | None:
    """Return a LoftQ start, which adapters have not always told themselves."""
    is_loftq = recipe.adapter.init is None and recipe.adapter.init_lora_weights == "loftq"
    return "loftq" if is_loftq else None
