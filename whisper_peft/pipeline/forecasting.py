"""check(): what a run will take and what would stop it, before anything is downloaded or loaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from whisper_peft.data.targets.labels import told_language
from whisper_peft.errors import WhisperPeftError
from whisper_peft.measuring import free_memory_bytes, memory_bytes
from whisper_peft.model.blueprint import ENGLISH, Sketch, blueprint, sketch
from whisper_peft.model.precision import choose_device, choose_precision
from whisper_peft.pipeline.material import look_at_speech
from whisper_peft.pipeline.runs.contradictions import refuse_contradictions
from whisper_peft.recipe.catalog import resolve_recipe
from whisper_peft.recipe.learning_rates import rate_sentence
from whisper_peft.recipe.overrides import given_overrides
from whisper_peft.recipe.sections import ModelSection, Recipe
from whisper_peft.reporting.figures import memory
from whisper_peft.training.planning.machine_speed import measure_speed
from whisper_peft.training.planning.material import Material
from whisper_peft.training.planning.planner import Forecast, Machine, Planner
from whisper_peft.training.planning.proposals import Proposal, propose
from whisper_peft.types import Utterance

T = TypeVar("T")

WIDEST_MEASURED = 512
"""Width of the largest model that the constants were fitted to, whisper-base."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will take, whether that fits, and what else would stop it.

    Attributes:
        recipe: Name of the recipe.
        sentences: What it is planned for: model, machine, speech.
        forecast: What it will take; None where a problem leaves nothing to plan.
        free_memory_bytes: What this machine, or its accelerator, can still give, this process included.
        free_disk_bytes: The same of the disk of the run folder.
        download_bytes: What would be downloaded of the weights, None where that is not known.
        problems: What would stop the run, each with what to do.
        proposals: Changes with which it fits.
        notes: What was assumed.
    """

    recipe: str
    sentences: tuple[str, ...]
    forecast: Forecast | None
    free_memory_bytes: int
    free_disk_bytes: int
    download_bytes: int | None
    problems: tuple[str, ...]
    proposals: tuple[Proposal, ...]
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether nothing is known that would stop the run."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        forecast = self.forecast.to_dict() if self.forecast else None
        return {**asdict(self), "forecast": forecast, "fits": self.fits}


def check(
    recipe: str | Path | Recipe,
    *,
    model: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    augment: Mapping[str, Any] | None = None,
    targets: Mapping[str, Any] | None = None,
    adapter: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    eval: Mapping[str, Any] | None = None,
    merge: Mapping[str, Any] | None = None,
    output_dir: str | Path | None = None,
) -> Plan:
    """Plan a run: peak memory, time, disk and download, and every problem that is found, all at once.

    No weights are read. A second goes to how fast this machine is, and the headers of the speech are read.

    Args:
        recipe: A recipe, the name of one (`whisper-peft recipes list`), or a YAML file.
        model: Fields of the section to override, such as `{"quantize": "int8"}`. So for the other sections.
        data: Overrides.
        augment: Overrides.
        targets: Overrides.
        adapter: Overrides.
        train: Overrides.
        eval: Overrides.
        merge: Overrides.
        output_dir: Run folder.

    Raises:
        RecipeError: If the recipe cannot be read, or a field is unknown or has a bad value.

    Example:
        >>> plan = check("lora-librispeech", data={"source": "LibriSpeech"})  # doctest: +SKIP
        >>> plan.fits, plan.forecast.peak_memory_bytes  # doctest: +SKIP
        (True, 1843245056)
    """
    sections = {"model": model, "data": data, "augment": augment, "targets": targets, "adapter": adapter}
    sections |= {"train": train, "eval": eval, "merge": merge}
    chosen = resolve_recipe(recipe, given_overrides(**sections, output_dir=output_dir))
    return Checking(chosen).plan()


class Checking:
    """Gathers what can be known of a run; a problem with one part does not hide those of the others.

    Args:
        recipe: What is to be done.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.problems: list[str] = []

    def plan(self) -> Plan:
        """Return the plan."""
        self._tried(lambda: refuse_contradictions(self.recipe))
        found = self._tried(lambda: sketch(self.recipe.model.name))
        machine = self._tried(lambda: this_machine(self.recipe.model))
        looked = look_at_speech(self.recipe, check_language=partial(_check_language, self.recipe, found))
        self.problems += [problem for problem in looked.problems if problem not in self.problems]
        planner = None
        if found and machine:
            planner = self._tried(lambda: planner_of(self.recipe, found, machine, looked.material))
        forecast = self._tried(planner.forecast) if planner else None
        free, disk = free_bytes(machine), free_disk_bytes(self.recipe)
        proposals: tuple[Proposal, ...] = ()
        if planner and forecast:
            self._check_disk(forecast, disk)
            if forecast.peak_memory_bytes > free:
                proposals = propose(planner, free, partial(_replan, planner))
                self.problems.append(too_large(forecast, free))
        rate = rate_sentence(self.recipe)
        notes = [*looked.notes, *([rate] if rate else []), *(_doubts(planner) if planner else ())]
        return Plan(
            recipe=self.recipe.name,
            sentences=(
                *([found.sentence] if found else []),
                *([machine.precision.reason] if machine else []),
                *looked.sentences,
            ),
            forecast=forecast,
            free_memory_bytes=free,
            free_disk_bytes=disk,
            download_bytes=found.download_bytes if found else None,
            problems=tuple(self.problems),
            proposals=proposals,
            notes=tuple(notes),
        )

    def _tried(self, action: Callable[[], T]) -> T | None:
        try:
            return action()
        except WhisperPeftError as error:
            self.problems.append(str(error))
            return None

    def _check_disk(self, forecast: Forecast, free: int) -> None:
        needed = sum(forecast.disk_bytes.values())
        if needed > free:
            self.problems.append(
                f"the run folder needs {memory(needed)} and its disk has {memory(free)} free - "
                "give another --output-dir, or --merge.no-enabled"
            )


def planner_of(recipe: Recipe, found: Sketch, machine: Machine, material: Material) -> Planner:
    """Return the planner of a run, for as many processes as were started."""
    model = blueprint(found.config, recipe.adapter)
    return Planner(recipe, model, material, machine, int(os.environ.get("WORLD_SIZE", "1")))


def this_machine(section: ModelSection) -> Machine:
    """Return what a model would be run on, and how fast that is.

    Raises:
        ModelError: If the device is not there, or cannot compute so.
    """
    device = choose_device(section.device)
    precision = choose_precision(section, device)
    base = memory_bytes() if device.type == "cpu" else 0
    return Machine(device, precision, measure_speed(precision.name, device), base)


def _replan(planner: Planner, recipe: Recipe) -> Planner:
    precision = choose_precision(recipe.model, planner.machine.device)
    speed = planner.machine.speed
    if precision.name != planner.machine.precision.name:
        speed = measure_speed(precision.name, planner.machine.device)
    return replace(planner, recipe=recipe, machine=replace(planner.machine, precision=precision, speed=speed))


def _check_language(recipe: Recipe, found: Sketch | None, row: Utterance) -> None:
    multilingual = found is not None and found.config.vocab_size != ENGLISH
    if found is not None:
        told_language(row.language or recipe.model.language, multilingual=multilingual)


def free_bytes(machine: Machine | None) -> int:
    """Return the memory that a process of a run can have: what is free, and what it holds already.

    Processes on one CPU share what is free.
    """
    if machine is not None and machine.device.type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return free_memory_bytes() // processes + (machine.base_bytes if machine else 0)


def free_disk_bytes(recipe: Recipe) -> int:
    """Return what the disk of the run folder has left."""
    folder = (recipe.output_dir or Path("runs")).absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(there).free


def too_large(forecast: Forecast, free: int) -> str:
    """Say what is needed and what there is.

    Example:
        >>> from whisper_peft.training.planning.planner import StageForecast
        >>> stages = {"train": StageForecast(9.0, 4 * 2**30)}
        >>> too_large(Forecast(1, 9.0, stages, 4 * 2**30, {}, 1, 2), 2**30)
        'the run needs 4.00 GiB of memory (train), and 1.00 GiB are free'
    """
    largest = max(forecast.stages, key=lambda name: forecast.stages[name].memory_bytes)
    needed = memory(forecast.peak_memory_bytes)
    return f"the run needs {needed} of memory ({largest}), and {memory(free)} are free"


def _doubts(planner: Planner) -> Iterator[str]:
    """Say where the estimate reaches beyond what was measured."""
    if planner.world_size > 1:
        yield f"{planner.world_size} processes: memory, what of it is free, and steps are those of each"
    if planner.machine.device.type != "cpu":
        yield f"the constants were measured on a CPU: on {planner.machine.device.type} time is a guess"
    if planner.model.config.d_model > WIDEST_MEASURED:
        yield f"no model wider than {WIDEST_MEASURED} was measured: this one is by analysis alone"
    if planner.recipe.adapter.config is not None:
        yield "adapters other than LoRA are planned as if they added nothing to compute"
