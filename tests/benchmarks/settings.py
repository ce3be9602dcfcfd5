"""What a setting is worth on this machine: runs that differ in it alone, in turn, each in its own process.

    python tests/benchmarks/settings.py LibriSpeech --train train-clean-100 --eval heldout-clean --steps 14 \
        --setting model.precision=bf16 --setting train.compile=true --setting train.optimizer=adamw-8bit

Trains LoRA on whisper-tiny.en by the loop that every run uses: first as the recipe's defaults say, then with
each setting (`--setting "a=1 b=2"` changes two fields at once), and all of them again in each round. Prints
speed, its ratio to the defaults, seconds of the first step (where compiling falls), memory and the last loss;
with `--wer` also the WER beside the defaults', over the same utterances.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from whisper_peft.benchmarking.adapter_scores import score_adapters
from whisper_peft.benchmarking.preparation import Preparation, prepare
from whisper_peft.benchmarking.processes import run_side
from whisper_peft.benchmarking.sides import SideRun, read_run
from whisper_peft.commands.words import assignments
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import Recipe
from whisper_peft.recipe.yaml_files import read_recipe, write_recipe
from whisper_peft.reporting.figures import interval, memory, number, percent, points

DEFAULTS = "defaults"


def train(prepared: Preparation, setting: str, folder: Path) -> SideRun:
    """Train with a setting in a process of its own."""
    task = prepared.task("ours", "train", folder)
    recipe = read_recipe(Path(task.recipe))
    if setting != DEFAULTS:
        recipe = apply_overrides(recipe, assignments(tuple(setting.split())))
    folder.mkdir(parents=True)
    write_recipe(recipe, folder / "recipe.yaml")
    return read_run(run_side("ours", dataclasses.replace(task, recipe=str(folder / "recipe.yaml")), folder))


def steady_speed(run: SideRun, warm_up: int) -> float:
    """Return audio-seconds per second of all steps but the first ones."""
    return sum(run.step_audio_seconds[warm_up:]) / sum(run.step_seconds[warm_up:])


def row(setting: str, runs: Sequence[SideRun], base: Sequence[SideRun], warm_up: int) -> list[str]:
    """Return a setting's line of the table: medians over the rounds."""
    speeds = [steady_speed(run, warm_up) for run in runs]
    ratios = [speed / steady_speed(one, warm_up) for speed, one in zip(speeds, base, strict=True)]
    return [
        setting,
        number(statistics.median(speeds)),
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{statistics.median(run.step_seconds[0] for run in runs):.1f} s",
        memory(statistics.median(run.memory_bytes for run in runs)),
        f"{runs[-1].losses[-1]:.4f}",
        str(runs[-1].steps),
    ]


def wer_lines(prepared: Preparation, adapters: Mapping[str, str]) -> list[str]:
    """Return each setting's WER beside the defaults', at full and at cut context."""
    lines = []
    for setting in list(adapters)[1:]:
        both = score_adapters(prepared, {"reference": adapters[DEFAULTS], "ours": adapters[setting]})
        for context, scores in both.items():
            lines.append(
                f"WER at {context} context: {DEFAULTS} {percent(scores.reference_wer)}, {setting} "
                f"{percent(scores.ours_wer)}: {points(scores.difference)} ({interval(scores.interval)})"
            )
    return lines


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="any local source")
    parser.add_argument("--train", default="train-clean-100", help="split to train on")
    parser.add_argument("--eval", default="heldout-clean", help="split to score")
    parser.add_argument("--steps", type=int, help="optimiser steps; else one epoch")
    parser.add_argument("--warm-up", type=int, default=4, help="first steps that the speed leaves out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wer", action="store_true", help="score what was learned in the last round")
    parser.add_argument("--setting", action="append", default=[], help="FIELD=VALUE, or several with spaces")
    parser.add_argument("--base", default="", help="fields that all runs have otherwise")
    chosen = parser.parse_args()
    data = {"source": chosen.data, "train": chosen.train, "eval": chosen.eval}
    recipe = apply_overrides(Recipe(), {"data": data, "train": {"epochs": 1, "max_steps": chosen.steps}})
    with tempfile.TemporaryDirectory() as folder:
        base = assignments(tuple(chosen.base.split()))
        prepared = prepare(recipe, ours=base, reference={}, folder=Path(folder))
        runs: dict[str, list[SideRun]] = {setting: [] for setting in (DEFAULTS, *chosen.setting)}
        for turn in range(chosen.rounds):
            for place, setting in enumerate(runs):
                run = train(prepared, setting, Path(folder, "runs", f"{turn}-{place}"))
                runs[setting].append(run)
                print(
                    f"{setting}: {number(steady_speed(run, chosen.warm_up))} audio-seconds per second",
                    flush=True,
                )
        table = Table("setting", "audio-s/s", "ratio", "first step", "memory", "last loss", "steps")
        for setting, taken in runs.items():
            table.add_row(*row(setting, taken, runs[DEFAULTS], chosen.warm_up))
        Console(width=150).print(table)
        if chosen.wer:
            print(*wer_lines(prepared, {name: taken[-1].adapter for name, taken in runs.items()}), sep="\n")


if __name__ == "__main__":
    main()
