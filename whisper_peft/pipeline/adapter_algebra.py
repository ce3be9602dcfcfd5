"""Adapters made of adapters, of checkpoints and of models: which base belongs to them, and what is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from whisper_peft.deploy.adapters.checkpoint_average import write_averaged_adapter
from whisper_peft.deploy.adapters.combination import Combination, write_combined_adapter
from whisper_peft.deploy.adapters.description import AdapterDescription, describe_folder
from whisper_peft.deploy.adapters.values import (
    AveragedAdapter,
    CombinedAdapter,
    ExtractedAdapter,
    UnmergedBase,
)
from whisper_peft.deploy.adapters.weight_differences import (
    state_of,
    write_extracted_adapter,
    write_unmerged_base,
)
from whisper_peft.errors import AdapterError, ModelError
from whisper_peft.model.adapters.attaching import load_adapter
from whisper_peft.model.adapters.bases import find_base
from whisper_peft.model.adapters.folders import (
    find_adapter_folder,
    read_adapter_config,
    read_adapter_state,
    refuse_used,
)
from whisper_peft.model.loading import load_run_or_model, load_whisper
from whisper_peft.pipeline.runs.run_folder import ADAPTER, RECIPE_FILE
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import ModelSection, Recipe
from whisper_peft.recipe.yaml_files import read_recipe
from whisper_peft.training.run_checkpoints import CHECKPOINTS

EXACT = {"precision": "fp32", "quantize": "none"}
"""Weights are computed with as they are."""


def combine_adapters(
    adapters: Sequence[str | Path],
    *,
    output_dir: str | Path,
    weights: Sequence[float] | None = None,
    how: str = "svd",
    rank: int | None = None,
    density: float | None = None,
    seed: int = 0,
    model: Mapping[str, Any] | None = None,
) -> CombinedAdapter:
    """Write a weighted combination of LoRA adapters of one base as an ordinary adapter folder.

    Args:
        adapters: Run or adapter folders; one alone is scaled by its weight.
        output_dir: Folder to write.
        weights: One for each, negative to take an update away. None: their mean.
        how: A way that PEFT has, such as cat (exact, ranks add up), svd (the nearest of a rank) or ties.
        rank: Rank of the result where `how` ends in svd. None: the largest of theirs.
        density: Share of the values that ties, dare and magnitude_prune keep.
        seed: Of the values that dare draws.
        model: Fields of the section to override, such as the base's `name`.

    Raises:
        WhisperPeftError: With what is wrong, why, and what to do.

    Example:
        >>> combine_adapters(["runs/a", "runs/b"], output_dir="both")  # doctest: +SKIP
    """
    if not adapters:
        raise AdapterError("no adapter was given", todo="give the folders of two or more")
    folders = [adapter_folder(one) for one in adapters]
    shares = tuple(weights) if weights is not None else (1 / len(folders),) * len(folders)
    combination = Combination(how, shares, rank, density, seed)
    combination.refuse_unfit(len(folders))
    refuse_used(Path(output_dir))
    whisper = load_whisper(_exact_section({"name": base_name(folders[0], model), **(model or {})}))
    return write_combined_adapter(whisper, folders, combination, Path(output_dir))


def average_checkpoints(
    run: str | Path, *, output_dir: str | Path, last: int = 3, model: Mapping[str, Any] | None = None
) -> AveragedAdapter:
    """Write the mean of a run's last checkpoints as an ordinary adapter folder.

    Args:
        run: Run folder, finished or not.
        output_dir: Folder to write.
        last: Checkpoints to average; damaged ones are passed over and said.
        model: Fields of the section to override.

    Raises:
        WhisperPeftError: With what is wrong, why, and what to do.
    """
    file = Path(run) / RECIPE_FILE
    if not file.is_file():
        raise AdapterError(f"{run} is no run folder", f"it has no {RECIPE_FILE}", "give a run's folder")
    recipe = read_recipe(file)
    refuse_used(Path(output_dir))
    return write_averaged_adapter(
        lambda: load_whisper(_exact_section({"name": recipe.model.name, **(model or {})})),
        recipe.adapter,
        Path(run) / CHECKPOINTS,
        last=last,
        seed=recipe.train.seed,
        output_dir=Path(output_dir),
    )


def unmerge(
    merged: str | Path,
    adapter: str | Path,
    *,
    output_dir: str | Path,
    scale: float = 1.0,
    base: str | None = None,
) -> UnmergedBase:
    """Take an adapter's update out of a merged model, and compare what is left with the base.

    Args:
        merged: Model folder that the adapter was folded into.
        adapter: The run or adapter folder.
        output_dir: Folder to write the base to.
        scale: The scale that it was merged at.
        base: The base to compare with. None: the adapter's own, where it is at hand.

    Raises:
        WhisperPeftError: With what is wrong, why, and what to do.
    """
    folder = adapter_folder(adapter)
    refuse_used(Path(output_dir))
    whole = load_whisper(_exact_section({"name": str(merged)}))
    load_adapter(whole, folder)
    wanted = _base_state(base) if base else _base_at_hand(folder)
    return write_unmerged_base(whole, scale=scale, base=wanted, output_dir=Path(output_dir))


def extract_adapter(
    tuned: str | Path,
    *,
    output_dir: str | Path,
    base: str | None = None,
    r: int = 32,
    targets: str | tuple[str, ...] = "all-linear",
) -> ExtractedAdapter:
    """Write the LoRA nearest to what full fine-tuning changed, by a singular value decomposition.

    Args:
        tuned: Run folder of full fine-tuning, or any tuned model.
        output_dir: Folder to write.
        base: The model before tuning. None: the run's.
        r: Rank.
        targets: Layers to adapt, as `adapter.targets` takes them.

    Raises:
        WhisperPeftError: With what is wrong, why, and what to do.
    """
    section = apply_overrides(Recipe(), {"adapter": {"r": r, "lora_alpha": r, "targets": targets}}).adapter
    name = base or _recorded_base(Path(tuned))
    refuse_used(Path(output_dir))
    whole = load_run_or_model(str(tuned), ModelSection.model_validate(EXACT))
    if whole.model is not whole.core:
        raise AdapterError(f"{tuned} has an adapter", "there is nothing to extract", "use that adapter")
    after = state_of(whole.core)
    whisper = load_whisper(_exact_section({"name": name}))
    return write_extracted_adapter(whisper, after, section=section, output_dir=Path(output_dir))


def describe_adapter(adapter: str | Path) -> AdapterDescription:
    """Return what an adapter folder holds: kind, base, rank, targets, and whether it was trained.

    Raises:
        AdapterError: If there is no adapter, or it is damaged.
    """
    return describe_folder(adapter_folder(adapter))


def adapter_folder(path: str | Path) -> Path:
    """Return the adapter's own folder of a run or an adapter folder.

    Raises:
        AdapterError: If there is none.
    """
    folder = Path(path).expanduser()
    found = find_adapter_folder(folder) or find_adapter_folder(folder / ADAPTER)
    if found is None:
        why = f"neither it nor its {ADAPTER}/ has an adapter_config.json"
        raise AdapterError(f"{path} has no adapter", why, "give a run's folder, or an adapter's")
    return found


def base_name(folder: Path, model: Mapping[str, Any] | None = None) -> str:
    """Return the name of an adapter's base: the one given, the one recorded, or the one recognised.

    Raises:
        AdapterError: If it is none of them.
    """
    if model and "name" in model:
        return str(model["name"])
    config = read_adapter_config(folder, tell=False)
    return find_base(folder, config, read_adapter_state(folder, tell=False))[0]


def _base_at_hand(folder: Path) -> tuple[str, dict[str, Tensor]] | None:
    try:
        return _base_state(base_name(folder))
    except ModelError:  # the result says that it was not compared
        return None


def _base_state(name: str) -> tuple[str, dict[str, Tensor]]:
    return name, state_of(load_whisper(_exact_section({"name": name})).core)


def _recorded_base(tuned: Path) -> str:
    file = tuned / RECIPE_FILE
    if not file.is_file():
        why = f"{tuned} is no run folder, whose {RECIPE_FILE} would tell"
        raise AdapterError("the base is not known", why, "give it: --base NAME")
    return read_recipe(file).model.name


def _exact_section(fields: Mapping[str, Any]) -> ModelSection:
    return apply_overrides(Recipe(), {"model": {**fields, **EXACT}}).model
