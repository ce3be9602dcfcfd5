"""What a run will take, before its weights are loaded: memory, time and disk, and whether that fits.

The steps are those of the run itself: the same plan deals the same rows into the same micro-batches. What is
not known before weights are read, the tokens of a transcript, is taken from its bytes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, cast

import torch

from whisper_peft.data.batches.audio_contexts import AudioContexts
from whisper_peft.data.batches.collation import Collator
from whisper_peft.data.effects.augmentation import Augmentation, build_augmentation
from whisper_peft.data.targets.target_draws import TargetDraws
from whisper_peft.evaluation.evaluator import draw_evenly
from whisper_peft.evaluation.health.budgets import BUDGETS, Budget
from whisper_peft.model.blueprint import Blueprint, Linear
from whisper_peft.model.precision import Precision
from whisper_peft.recipe.sections import EvalSection, Recipe
from whisper_peft.training.halving import longest_part_s
from whisper_peft.training.plan import TrainingPlan
from whisper_peft.training.planning.cost_model import (
    Terms,
    bytes_of,
    learning_held,
    measured_costs,
    scoring_terms,
    seconds_of,
    step_terms,
    time_terms,
    weights_held,
)
from whisper_peft.training.planning.machine_speed import MachineSpeed
from whisper_peft.training.planning.material import Material, Rows
from whisper_peft.training.planning.memory_model import encoder_learns
from whisper_peft.training.planning.time_model import encoder_work, scoring_work, total, training_work
from whisper_peft.training.planning.workload import (
    Arithmetic,
    Load,
    dealt_into_parts,
    load_of,
    scored_batches,
)

PLANNED_STEPS, TIMED_STEPS = 200, 40
"""Steps that are looked at for the heaviest micro-batch, and for the mean time; longer runs are like them."""

WITNESS_WINDOW, WITNESS_TOKENS = 1500, 40
"""Encoder positions and about the tokens of the clips that a merged model is compared on."""

RECORDING_WINDOWS = 3
"""Windows of a recording of a minute, which end where its sentences do."""

FILE_BYTES = 2
"""Of a weight as most checkpoints store it."""

STATE_BYTES = 2
"""Of each value of a kept encoder state."""


@dataclass(frozen=True, slots=True)
class StageForecast:
    """One stage of a run: its seconds, and the memory it holds at its peak."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run is expected to take.

    Attributes:
        steps: Optimiser steps.
        step_seconds: Of one of them.
        stages: Loading, scoring, training and merging, in their order.
        peak_memory_bytes: Of the largest stage.
        disk_bytes: What is written to the run folder, by its part.
        trainable_parameters: Weights that learn.
        total_parameters: Weights of model and adapter.
    """

    steps: int
    step_seconds: float
    stages: Mapping[str, StageForecast]
    peak_memory_bytes: int
    disk_bytes: Mapping[str, int]
    trainable_parameters: int
    total_parameters: int

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return sum(stage.seconds for stage in self.stages.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return {**asdict(self), "seconds": self.seconds}


@dataclass(frozen=True, slots=True)
class StageTerms:
    """What a stage takes, by the constants of the cost model, and the bytes of weights that it holds."""

    seconds: Terms
    memory: Terms
    held: int
    arithmetic: Arithmetic


@dataclass(frozen=True)
class Machine:
    """Where a run is planned for.

    Attributes:
        device: What it computes on.
        precision: What it computes in there.
        speed: What a probe found.
        base_bytes: Memory of the process before it loads anything; 0 on an accelerator.
    """

    device: torch.device
    precision: Precision
    speed: MachineSpeed
    base_bytes: int


@dataclass(frozen=True)
class _Hearing:
    """What a plan asks of a collator; there is no tokenizer yet to make one."""

    contexts: AudioContexts
    augmentation: Augmentation
    draws: TargetDraws


@dataclass(frozen=True)
class Planner:
    """Plans one recipe for one machine.

    Args:
        recipe: What to do.
        model: Model and adapter.
        material: Its speech.
        machine: Where.
        world_size: Number of processes.
    """

    recipe: Recipe
    model: Blueprint
    material: Material
    machine: Machine
    world_size: int = 1

    @cached_property
    def arithmetic(self) -> Arithmetic:
        """How it computes."""
        return Arithmetic.of(self.recipe, self.machine.precision, self.machine.device)

    @cached_property
    def draws(self) -> TargetDraws:
        """Which windows are learned with timestamps or the text before them."""
        return TargetDraws(self.recipe.targets, self.recipe.train.seed)

    @cached_property
    def plan(self) -> TrainingPlan:
        """The steps of a run on the rows that were looked at."""
        section = self.recipe.train
        hearing = _Hearing(
            AudioContexts.of(section, seed=section.seed),
            build_augmentation(self.recipe.augment),
            self.draws,
        )
        collator = cast(Collator, hearing)
        rows = self.material.learned(section.seed)
        return TrainingPlan(self.recipe, rows, collator, self.model.config, self.world_size)

    @cached_property
    def steps(self) -> int:
        """Optimiser steps of the run."""
        section = self.recipe.train
        if section.max_steps is not None:
            return self.plan.total_steps
        if self.material.train.count is None and section.stream_steps is not None:
            return section.stream_steps
        return math.ceil(self.plan.total_steps * self.material.train.scale)

    @cached_property
    def loads(self) -> list[list[Load]]:
        """What one process computes at once in the first steps: its micro-batches, dealt into parts."""
        section = self.recipe.train
        micro_batches = section.gradient_accumulation_steps
        longest_s = longest_part_s(section.part_seconds, self.machine.device)
        steps = itertools.islice(self.plan.steps(epoch=0, skip=0), min(self.steps, PLANNED_STEPS))
        dealt = (step.deal(rank=0, world_size=self.world_size, micro_batches=micro_batches) for step in steps)
        return [
            [
                part
                for micro_batch in step
                for part in dealt_into_parts(load_of(micro_batch, self.plan.contexts, self.draws), longest_s)
            ]
            for step in dealt
        ]

    def forecast(self) -> Forecast:
        """Return what the run will take."""
        stages = {name: self._foresee(terms) for name, terms in self.stages().items()}
        return Forecast(
            steps=self.steps,
            step_seconds=self._seconds_of(self.step_terms, self.arithmetic),
            stages=stages,
            peak_memory_bytes=max(stage.memory_bytes for stage in stages.values()),
            disk_bytes=self._disk(),
            trainable_parameters=self.model.trainable_weights,
            total_parameters=self.model.base_weights + self.model.adapter_weights,
        )

    def stages(self) -> dict[str, StageTerms]:
        """Return what each stage takes, by the constants that turn it into seconds and bytes."""
        section = self.recipe.eval
        short = section.model_copy(update={"audio_context": "cut"})
        tuned_short = self.recipe.train.audio_context != "full" and section.audio_context == "full"
        scored, others = self.material.scored, self.material.scored_too
        stages = {"load": self._loading(), **self._restoring()}
        if section.before:
            stages["score before"] = self._scoring(scored, section, adapted=False)
            for name, rows in others.items():
                stages[f"score before on {name}"] = self._scoring(rows, section, adapted=False)
        stages |= {"train": self._training(), "score after": self._scoring(scored, section, adapted=True)}
        for name, rows in others.items():
            stages[f"score after on {name}"] = self._scoring(rows, section, adapted=True)
        if tuned_short and section.short_context:
            stages["score after, cut context"] = self._scoring(scored, short, adapted=True)
        if self.recipe.merge.enabled and self.recipe.adapter.method != "full":
            stages["merge"] = self._merging()
        if section.health != "off":
            stages["health"] = self._health(BUDGETS[section.health])
        return stages

    @cached_property
    def step_terms(self) -> Terms:
        """What a step takes on average; those of later epochs less where encoder states are kept."""
        timed = self.loads[:TIMED_STEPS]
        work = total(training_work(self.model, loads, self.arithmetic) for loads in timed)
        flat = [load for loads in timed for load in loads]
        heard = total(encoder_work(self.model, load, self.arithmetic) for load in flat)
        mean = (work + heard.times(-self._kept_share)).times(1 / len(timed))
        return time_terms(mean, self.arithmetic)

    @property
    def _kept_share(self) -> float:
        """Share of the steps whose encoder states are kept from an epoch before."""
        cache, per_epoch = self.recipe.train.encoder_cache, self.plan.steps_per_epoch
        if cache == "off" or encoder_learns(self.model) or per_epoch is None:
            return 0.0
        return max(1 - per_epoch / self.plan.total_steps, 0.0)

    def _loading(self) -> StageTerms:
        read = float(weights_held(self.model, self.arithmetic) + FILE_BYTES * self.model.base_weights)
        return StageTerms({"load": 1.0, "loaded": read}, {"opened": 1.0, "loaded": read}, 0, self.arithmetic)

    def _restoring(self) -> dict[str, StageTerms]:
        """Return what hearing the training speech takes, once, by the model that has learned nothing yet."""
        section = self.recipe.eval.model_copy(update={"max_utterances": None, "audio_context": "full"})
        rates: dict[str | None, float] = {None: 1.0}
        rates |= {name: float(one.rate) for name, one in self.material.replayed.items()}
        learned = self.steps * self.plan.rows_per_step / sum(rates.values())
        stages = {}
        for name in sorted(self.material.restored, key=str):
            rows = self.material.train if name is None else self.material.replayed[name].rows
            heard = math.ceil(min(learned * rates[name], math.inf if rows.count is None else rows.count))
            label = "restore text" if name is None else f"restore text of {name}"
            stages[label] = self._scoring(Rows(rows.seen, heard), section, adapted=False)
        return stages

    def _training(self) -> StageTerms:
        seconds = {name: self.steps * amount for name, amount in self.step_terms.items()}
        seconds[f"start {self.arithmetic.quantize}"] = 1.0
        if self.recipe.eval.steps is not None:
            times = math.ceil(self.steps / self.recipe.eval.steps)
            scored = self._scoring(self.material.scored, self.recipe.eval, adapted=True)
            for name, amount in scored.seconds.items():
                seconds[name] = seconds.get(name, 0.0) + times * amount
        held = weights_held(self.model, self.arithmetic)
        held += learning_held(self.model, self.recipe.train.optimizer)
        if self._kept_share and self.recipe.train.encoder_cache != "disk":
            held += self._states_bytes()
        return StageTerms(seconds, self._learning_memory, held, self.arithmetic)

    @cached_property
    def _learning_memory(self) -> Terms:
        return step_terms(self.model, self.loads, self.arithmetic, steps=self.steps)

    @property
    def _kernels(self) -> float:
        """Kernels that are kept once training is over."""
        return self._learning_memory.get("kernels", 0.0)

    def _states_bytes(self) -> int:
        """Return the bytes of the encoder states that this process keeps."""
        seen = [load for loads in self.loads for load in loads]
        positions = sum(load.positions for load in seen) / sum(len(load.windows) for load in seen)
        rows = self.material.rows_to_keep / self.world_size
        return int(positions * rows * self.model.config.d_model * STATE_BYTES)

    def _scoring(self, rows: Rows, section: EvalSection, *, adapted: bool) -> StageTerms:
        model = self.model if adapted else replace(self.model, layers=_bare(self.model))
        batches = list(scored_batches(list(draw_evenly(rows.seen, section.max_utterances)), section))
        work = scoring_work(model, batches, self.arithmetic)
        seconds = time_terms(work.times(_scored_share(rows, section) / self.world_size), self.arithmetic)
        held = weights_held(self.model, self.arithmetic)
        kernels = self._kernels if adapted else 0.0
        memory = scoring_terms(model, batches, self.arithmetic, kernels=kernels)
        return StageTerms({**seconds, "score": 1.0}, memory, held, self.arithmetic)

    def _merging(self) -> StageTerms:
        exact = Arithmetic("fp32", "none", self.machine.device.type)
        count = self.recipe.merge.clips
        clips = Load((WITNESS_WINDOW,) * count, (WITNESS_TOKENS,) * count)
        once = scoring_work(self.model, [clips], exact) + encoder_work(self.model, clips, exact)
        weights = float(weights_held(self.model, exact))
        seconds = {**time_terms(once.times(2), exact), "merge": 1.0, "merged": weights}
        if self.recipe.model.quantize != "none":
            trained = time_terms(once, self.arithmetic)
            seconds = {
                name: seconds.get(name, 0.0) + trained.get(name, 0.0) for name in {**seconds, **trained}
            }
        memory = {**scoring_terms(self.model, [clips], exact, kernels=self._kernels), "merged": weights}
        return StageTerms(seconds, memory, int(weights), exact)

    def _health(self, budget: Budget) -> StageTerms:
        """Return what the check of the finished run takes: both models hear windows of 30 s."""
        heard = budget.brought * budget.prompts + budget.sounds + budget.windows + budget.rounded
        heard += RECORDING_WINDOWS * budget.recordings
        one = Load((WITNESS_WINDOW,), (WITNESS_TOKENS,))
        work = scoring_work(self.model, [one], self.arithmetic).times(2 * heard)
        memory = scoring_terms(self.model, [one], self.arithmetic, kernels=self._kernels)
        held = weights_held(self.model, self.arithmetic)
        return StageTerms(time_terms(work, self.arithmetic), memory, held, self.arithmetic)

    def _foresee(self, stage: StageTerms) -> StageForecast:
        return StageForecast(self._seconds_of(stage.seconds, stage.arithmetic), self._memory(stage))

    def _memory(self, stage: StageTerms) -> int:
        return int(self.machine.base_bytes + stage.held + bytes_of(stage.memory, measured_costs()))

    def _seconds_of(self, terms: Terms, arithmetic: Arithmetic) -> float:
        return seconds_of(terms, arithmetic, self.machine.speed, measured_costs())

    def _disk(self) -> dict[str, int]:
        """Return the bytes of what is written, by its part."""
        learns, section = 4 * self.model.trainable_weights, self.recipe.train
        full = self.recipe.adapter.method == "full"
        checkpoint = learns + 8 * self.model.trainable_weights // (
            4 if section.optimizer == "adamw-8bit" else 1
        )
        disk = {
            "model" if full else "adapter": 4 * self.model.base_weights if full else learns,
            "checkpoints": checkpoint * (section.keep_checkpoints + 1),
        }
        if self.recipe.eval.steps is not None:
            disk["best"] = 2 * learns
        if self.recipe.merge.enabled and not full:
            disk["merged"] = 4 * self.model.base_weights
        if section.encoder_cache == "disk" and not encoder_learns(self.model):
            disk["encoder states"] = self._states_bytes() * self.world_size
        return disk


def _scored_share(rows: Rows, section: EvalSection) -> float:
    """Return how many times the rows that were looked at are scored."""
    seen = len(rows.seen)
    wanted = min(section.max_utterances or math.inf, seen if rows.count is None else rows.count)
    return wanted / min(section.max_utterances or seen, seen)


def _bare(model: Blueprint) -> tuple[Linear, ...]:
    """Return the layers without an adapter."""
    return tuple(replace(layer, rank=0) for layer in model.layers)
