"""benchmark(): both sides in turn on the same work, and what they took."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from whisper_peft.benchmarking.adapter_scores import score_adapters, score_hypotheses
from whisper_peft.benchmarking.comparison import (
    AdapterScores,
    BenchmarkResult,
    LogMelComparison,
    TrainingComparison,
    TranscriptionComparison,
    refuse_unlike_work,
)
from whisper_peft.benchmarking.log_mel_clips import compare_log_mel
from whisper_peft.benchmarking.matmul_peak import matmul_peak
from whisper_peft.benchmarking.one_epoch import ONE_EPOCH
from whisper_peft.benchmarking.our_side import utterance
from whisper_peft.benchmarking.plot import write_plot
from whisper_peft.benchmarking.preparation import Preparation, prepare
from whisper_peft.benchmarking.processes import Side, run_side
from whisper_peft.benchmarking.sides import SideRun, SideTask, SideTranscripts, read_run, read_transcripts
from whisper_peft.benchmarking.useful_flops import useful_flops
from whisper_peft.data.audio.decoding import decode
from whisper_peft.errors import RecipeError, StorageError, did_you_mean
from whisper_peft.model.precision import choose_device
from whisper_peft.pipeline.runs.run_folder import choose_folder
from whisper_peft.pipeline.runs.run_lock import RunLock
from whisper_peft.recipe.catalog import resolve_recipe
from whisper_peft.recipe.overrides import given_overrides
from whisper_peft.recipe.sections import Recipe
from whisper_peft.reporting.console.progress import SteadyConsole
from whisper_peft.reporting.run_report import environment_meta

Work = Literal["train", "evaluate", "log-mel"]
WORKS: tuple[Work, ...] = ("train", "evaluate", "log-mel")
SIDES: tuple[Side, ...] = ("reference", "ours")

RESULT_FILE, PLOT_FILE = "benchmark.json", "benchmark.svg"

REFERENCE_WORKERS = (0, 1, 2)
"""Numbers of data loader workers that the reference is tried with; it gets its best."""

TRIAL_STEPS = 8
"""Optimiser steps of each such trial."""

TORCH_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def benchmark(
    recipe: str | Path | Recipe = ONE_EPOCH,
    *,
    model: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    adapter: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    eval: Mapping[str, Any] | None = None,
    what: Sequence[Work] = ("train",),
    rounds: int = 2,
    wer: bool = True,
    ours: Mapping[str, Any] | None = None,
    reference: Mapping[str, Any] | None = None,
    output_dir: str | Path | None = None,
) -> BenchmarkResult:
    """Compare this package with transformers' padded recipe, on your own model, speech and machine.

    Each side runs in a process of its own, in alternation, the order swapped each round. Both learn from the
    same rows for the same whole epochs, with the same adapter, rows a batch, schedule and seed; what they did
    is compared first, and refused where it differs.

    Args:
        recipe: What to compare on: a recipe, the name of one, or a YAML file; else LoRA for one epoch.
        model: Fields of the section to override. So for the other sections.
        data: Overrides.
        adapter: Overrides.
        train: Overrides. `epochs` stands above the recipe's `max_steps`, which takes as many rows, for whole
            epochs.
        eval: Overrides.
        what: Any of train, evaluate (ours at cut context, `generate` at 30 s) and log-mel. evaluate listens
            with what each side has just learned; without train, both with the adapter of `adapter.init`.
        rounds: How often each side runs.
        wer: Score both adapters after training, at full and at cut context.
        ours: Fields that only our side has otherwise, by dotted names: `{"model.precision": "bf16"}`.
        reference: Fields that only the reference has otherwise.
        output_dir: Where everything goes. None: the first free `runs/benchmark`.

    Raises:
        BenchmarkError: If a side failed, or both did not do the same work.
        WhisperPeftError: With what is wrong, why, and what to do.

    Example:
        >>> result = benchmark(data={"source": "my/speech"}, train={"epochs": 1})  # doctest: +SKIP
        >>> result.train.speed_ratio.median  # doctest: +SKIP
        5.1
    """
    if train and "epochs" in train:
        train = {"max_steps": None, **train}  # else the steps of a recipe that names them would win
    overrides = given_overrides(model=model, data=data, adapter=adapter, train=train, eval=eval)
    chosen = resolve_recipe(recipe, overrides)
    _refuse_unknown(what, rounds)
    with RunLock() as lock:
        folder = _folder(chosen, lock, output_dir)
        prepared = prepare(
            chosen, ours=ours or {}, reference=reference or {}, folder=folder, trains="train" in what
        )
        result = Benchmark(prepared, tuple(what), rounds, wer).run()
        (folder / RESULT_FILE).write_text(json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n")
        write_plot(result, folder / PLOT_FILE)
    return result


def _refuse_unknown(what: Sequence[str], rounds: int) -> None:
    for name in what:
        if name not in WORKS:
            raise RecipeError(f"what has {name!r}", "there is no such comparison", did_you_mean(name, WORKS))
    if rounds < 1:
        raise RecipeError(f"rounds is {rounds}", "nothing would be measured", "give at least 1")


def _folder(recipe: Recipe, lock: RunLock, output_dir: str | Path | None) -> Path:
    named = {"name": "benchmark", "output_dir": Path(output_dir) if output_dir else None}
    folder = choose_folder(recipe.model_copy(update=named), lock, resume=False).path
    if any((folder / name).exists() for name in ("ours.yaml", RESULT_FILE)):
        why = "its rounds would be mixed with these"
        raise StorageError(f"{folder} holds another comparison", why, "give another --output-dir")
    return folder.resolve()


@dataclass
class Benchmark:
    """One comparison, part by part."""

    prepared: Preparation
    what: tuple[Work, ...]
    rounds: int
    wer: bool

    def __post_init__(self) -> None:
        self.console = SteadyConsole()
        self.device = choose_device(self.prepared.recipe.model.device)
        given = self.prepared.recipe.adapter.init
        self.adapters: dict[Side, str | None] = {side: str(given) if given else None for side in SIDES}

    def run(self) -> BenchmarkResult:
        """Do what was asked for."""
        for sentence in self.prepared.sentences:
            self.say(sentence)
        recipe = self.prepared.recipe
        gpu = torch.cuda.get_device_name() if self.device.type == "cuda" else None
        described = environment_meta(recipe.train.seed, gpu=gpu).model_dump()
        meta = {
            "command": " ".join(sys.argv),
            "rounds": self.rounds,
            "threads": torch.get_num_threads(),
            "load_average": list(os.getloadavg()),
            **described,
        }
        return BenchmarkResult(
            train=self._train() if "train" in self.what else None,
            evaluate=self._evaluate() if "evaluate" in self.what else None,
            log_mel=self._log_mel() if "log-mel" in self.what else None,
            meta=meta,
            sentences=self.prepared.sentences,
        )

    def say(self, sentence: str) -> None:
        """Print a line."""
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def _train(self) -> TrainingComparison:
        tasks = {side: self.prepared.task(side, "train", self.prepared.folder) for side in SIDES}
        trials = self._try_workers(tasks["reference"])
        if trials:
            workers = max(trials, key=lambda number: trials[number])
            tasks["reference"] = _with_workers(tasks["reference"], workers)
        peaks = self._peaks(tasks)
        runs: dict[Side, list[SideRun]] = {"reference": [], "ours": []}
        for side, folder in self._turns("train"):
            self.say(f"training: {folder.name} of {self.rounds}, {side}")
            task = dataclasses.replace(tasks[side], output_dir=str(folder / side))
            runs[side].append(read_run(run_side(side, task, folder / side)))
            if len(runs["ours"]) == len(runs["reference"]):
                refuse_unlike_work(runs["reference"][-1], runs["ours"][-1])
        self.adapters = {side: runs[side][-1].adapter for side in SIDES}
        again = self._peaks(tasks)
        return TrainingComparison(
            reference=tuple(runs["reference"]),
            ours=tuple(runs["ours"]),
            worker_trials=trials,
            flops=self._useful_flops(),
            peaks={side: max(peaks[side], again[side]) for side in SIDES},
            precisions={side: tasks[side].precision for side in SIDES},
            scores=self._scores() if self.wer else {},
        )

    def _turns(self, work: str) -> Iterator[tuple[Side, Path]]:
        """Yield the sides in turn, the order swapped each round."""
        for number in range(self.rounds):
            for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                yield side, self.prepared.folder / work / f"round-{number + 1}"

    def _try_workers(self, task: SideTask) -> dict[int, float]:
        """Return the speed of the first steps by data loader workers, unless their number was given."""
        if self.prepared.reference.train.workers is not None:
            return {}
        per_step = task.learning.batch_size * task.learning.gradient_accumulation_steps
        rows = task.rows[: TRIAL_STEPS * per_step]
        speeds: dict[int, float] = {}
        for workers in REFERENCE_WORKERS:
            folder = self.prepared.folder / "workers" / str(workers)
            once = dataclasses.replace(task.learning, epochs=1, workers=workers)
            trial = dataclasses.replace(task, rows=rows, learning=once, output_dir=str(folder))
            speeds[workers] = read_run(run_side("reference", trial, folder)).audio_seconds_per_second
            self.say(f"the reference with {workers} workers: {speeds[workers]:.3g} audio-seconds per second")
        return speeds

    def _peaks(self, tasks: Mapping[Side, SideTask]) -> dict[Side, float]:
        measured = {
            name: matmul_peak(TORCH_TYPES[name], self.device)
            for name in {task.precision for task in tasks.values()}
        }
        return {side: measured[task.precision] for side, task in tasks.items()}

    def _useful_flops(self) -> float:
        once = useful_flops(self.prepared.config, self.prepared.lora, self.prepared.sizes)
        return once * round(self.prepared.recipe.train.epochs)

    def _scores(self) -> dict[str, AdapterScores]:
        self.say(f"scoring both adapters on {len(self.prepared.eval)} utterances")
        return score_adapters(self.prepared, {side: str(self.adapters[side]) for side in SIDES})

    def _evaluate(self) -> TranscriptionComparison:
        runs: dict[Side, list[SideTranscripts]] = {"reference": [], "ours": []}
        for side, folder in self._turns("evaluate"):
            self.say(f"transcribing: {folder.name} of {self.rounds}, {side}")
            task = self.prepared.task(side, "evaluate", folder / side)
            task = dataclasses.replace(task, adapter=self.adapters[side])
            runs[side].append(read_transcripts(run_side(side, task, folder / side)))
        scores = score_hypotheses(
            self.prepared, runs["reference"][-1].hypotheses, runs["ours"][-1].hypotheses
        )
        return TranscriptionComparison(tuple(runs["reference"]), tuple(runs["ours"]), scores)

    def _log_mel(self) -> LogMelComparison:
        self.say("log-mel spectrograms of the training rows")
        return compare_log_mel(
            [decode(utterance(row)).waveform for row in self.prepared.train],
            num_mel_bins=int(self.prepared.config.num_mel_bins),
            batch_size=self.prepared.recipe.train.batch_size,
            rounds=self.rounds,
            device=self.device,
        )


def _with_workers(task: SideTask, workers: int) -> SideTask:
    return dataclasses.replace(task, learning=dataclasses.replace(task.learning, workers=workers))
