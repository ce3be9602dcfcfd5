"""Measure short runs of the real `finetune`, fit the planner's constants to some, and judge it by others.

    python tests/benchmarks/calibrate_planner.py measure calibration runs.jsonl     # about 15 minutes
    python tests/benchmarks/calibrate_planner.py fit runs.jsonl        # writes measured_costs.json
    python tests/benchmarks/calibrate_planner.py measure judgement judged.jsonl
    python tests/benchmarks/calibrate_planner.py judge judged.jsonl                 # a table

Each run is a process of its own. The speech is LibriSpeech's and others' as `--speech FOLDER` has it (see
CONFIGURATIONS). Seconds of a step are the median over all but the first two; no other work may run meanwhile.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

SENTENCE = {"text_case": "sentence"}
"""Of the corpora in capitals: the model does not listen to their rows before."""

SPEECH = {
    "librispeech": {
        "source": "librispeech/LibriSpeech",
        "train": "train-clean-100",
        "eval": "heldout-clean",
        **SENTENCE,
    },
    "accented": {"source": "accented", "train": "train", "eval": "test", **SENTENCE},
    "en": {"source": "prompts/en", "train": "train", "eval": "test"},
    "fr": {"source": "prompts/fr", "train": "train", "eval": "test"},
}
TINY, BASE = {"name": "openai/whisper-tiny.en"}, {"name": "openai/whisper-base", "language": "en"}
FRENCH = {"name": "openai/whisper-base", "language": "fr"}
BF16, INT8, NF4 = {"precision": "bf16"}, {"quantize": "int8"}, {"quantize": "nf4"}
CHECKPOINTED, FULL_CONTEXT = {"gradient_checkpointing": True}, {"audio_context": "full"}


def configuration(
    model: dict[str, Any],
    speech: str,
    batch_size: int,
    train: dict[str, Any] | None = None,
    adapter: dict[str, Any] | None = None,
    *,
    steps: int,
    whole: bool = False,
) -> dict[str, Any]:
    """Return the overrides of one run; `whole` scores before training and merges after it."""
    return {
        "model": model,
        "data": SPEECH[speech],
        "train": {"max_steps": steps, "batch_size": batch_size, **(train or {})},
        "adapter": adapter or {"r": 32},
        "eval": {"max_utterances": 24 if whole else 16, "before": whole, "health": "off"},
        "merge": {"enabled": whole},
    }


def _calibration() -> Iterator[dict[str, Any]]:
    yield configuration(TINY, "librispeech", 6, steps=8, whole=True)
    yield configuration(TINY, "en", 12, steps=8)
    yield configuration(TINY, "librispeech", 3, FULL_CONTEXT, steps=8)
    yield configuration(TINY | BF16, "librispeech", 6, steps=8, whole=True)
    yield configuration(TINY | BF16, "accented", 5, FULL_CONTEXT, steps=8)
    yield configuration(TINY | BF16, "en", 24, steps=8)
    yield configuration(FRENCH, "fr", 6, steps=8, whole=True)
    yield configuration(BASE, "librispeech", 3, steps=8)
    yield configuration(BASE | BF16, "librispeech", 10, steps=8)
    yield configuration(TINY | INT8, "librispeech", 6, steps=8, whole=True)
    yield configuration(TINY | NF4, "librispeech", 6, steps=8)
    yield configuration(BASE | INT8 | BF16, "librispeech", 6, steps=8)
    yield configuration(TINY, "librispeech", 6, adapter={"targets": "decoder-only"}, steps=8)
    yield configuration(TINY, "librispeech", 12, CHECKPOINTED, steps=8)
    yield configuration(TINY, "librispeech", 6, adapter={"method": "full"}, steps=8)
    yield configuration(BASE | NF4 | BF16, "en", 12, steps=8)
    yield configuration(TINY, "accented", 8, {"audio_context": "packed"}, steps=8)
    yield configuration(BASE | BF16, "librispeech", 12, CHECKPOINTED, steps=8)
    yield configuration(TINY, "librispeech", 12, {"gradient_accumulation_steps": 2}, steps=8)
    yield configuration(BASE, "en", 12, steps=8)
    yield configuration(TINY, "librispeech", 20, steps=8)
    yield configuration(TINY, "librispeech", 6, FULL_CONTEXT, steps=8)
    yield configuration(BASE, "librispeech", 8, {"gradient_accumulation_steps": 2}, steps=4)
    yield configuration(BASE | BF16, "librispeech", 8, steps=10)
    yield configuration(TINY | NF4 | BF16, "librispeech", 8, steps=10)
    yield configuration(TINY | BF16, "accented", 16, FULL_CONTEXT, steps=10)
    yield configuration(TINY | BF16, "librispeech", 8, steps=10, whole=True)
    yield configuration(TINY | INT8, "librispeech", 8, steps=10)


def _judgement() -> Iterator[dict[str, Any]]:
    yield configuration(TINY, "librispeech", 5, steps=10, whole=True)
    yield configuration(TINY, "librispeech", 14, steps=10)
    yield configuration(TINY, "librispeech", 10, FULL_CONTEXT, steps=10)
    yield configuration(TINY | BF16, "librispeech", 7, steps=10, whole=True)
    yield configuration(TINY | BF16, "accented", 12, FULL_CONTEXT, steps=10)
    yield configuration(BASE, "librispeech", 5, steps=10)
    yield configuration(BASE | BF16, "librispeech", 7, steps=10)
    yield configuration(BASE | BF16, "accented", 14, steps=10)
    yield configuration(TINY | INT8, "librispeech", 10, steps=10)
    yield configuration(TINY | NF4 | BF16, "librispeech", 7, steps=10)
    yield configuration(BASE | NF4, "accented", 8, steps=10)
    yield configuration(TINY, "librispeech", 10, adapter={"targets": "decoder-only"}, steps=10)
    yield configuration(BASE, "accented", 10, CHECKPOINTED, steps=10)
    yield configuration(TINY, "accented", 10, adapter={"r": 16, "targets": "attention"}, steps=10)
    yield configuration(BASE, "accented", 12, steps=10)
    yield configuration(TINY, "librispeech", 9, {"gradient_accumulation_steps": 2}, steps=6)


CONFIGURATIONS = {"calibration": _calibration, "judgement": _judgement}

WARM_UP_STEPS = 2
"""Steps that compile kernels and start workers; they are not counted."""

OUTLIER = 0.4
"""What another process disturbed is this far off; it is left out, and the rest is fitted again."""

STEP_WEIGHT = 3.0
"""A step counts as three other measurements of time: most of a run is steps."""

NOTHING: Mapping[str, float] = {}

ROUNDS = 6
"""Fits, each without the outliers of the one before."""

VISIBLE = 1.01
"""A stage shows in the peak of a process where it raises it by a hundredth."""


def measure(which: str, out: Path, speech: Path, only: set[int]) -> None:
    """Run each configuration in a process of its own and append what it took, as a line of JSON."""
    import torch

    from whisper_peft.training.planning.machine_speed import measure_speed

    for number, overrides in enumerate(CONFIGURATIONS[which](), 1):
        if only and number not in only:
            continue
        data = overrides["data"]
        overrides["data"] = {**data, "source": str(speech / data["source"])}
        command = [sys.executable, __file__, "one", json.dumps(overrides)]
        speed = measure_speed(overrides["model"].get("precision", "fp32"), torch.device("cpu"))
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        with out.open("a", encoding="utf-8") as lines:
            took = json.loads(done.stdout.splitlines()[-1])
            lines.write(json.dumps({**took, "speed": dataclasses.asdict(speed)}) + "\n")
        print(number, label(overrides), flush=True)


def run_one(overrides: dict[str, Any]) -> None:
    """Fine-tune and print what it took, as a line of JSON."""
    from whisper_peft import finetune

    folder = Path(tempfile.mkdtemp())
    try:
        finetune("lora-librispeech", output_dir=folder / "run", **overrides)
        report = json.loads((folder / "run/report.json").read_text())
        rows = [json.loads(line) for line in (folder / "run/log.jsonl").read_text().splitlines()]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    elapsed = [0.0, *(row["elapsed_s"] for row in rows if "elapsed_s" in row)]
    steps = [after - before for before, after in itertools.pairwise(elapsed)]
    print(json.dumps({"overrides": overrides, "cost": report["cost"], "step_seconds": steps}))


def label(overrides: dict[str, Any]) -> str:
    """Return a configuration in a few words."""
    model, train, adapter = (overrides[name] for name in ("model", "train", "adapter"))
    words = [model["name"].rpartition("whisper-")[2], model.get("precision", "fp32")]
    words += [model.get("quantize", "")]
    words += [Path(overrides["data"]["source"]).name, f"batch {train['batch_size']}"]
    words += [train.get("audio_context", "cut")]
    words += ["checkpointed"] if "gradient_checkpointing" in train else []
    words += [f"x {train['gradient_accumulation_steps']}"] if "gradient_accumulation_steps" in train else []
    words += [f"{name} {value}" for name, value in adapter.items() if (name, value) != ("r", 32)]
    return " ".join(word for word in words if word)


def planner_of(overrides: dict[str, Any]) -> Any:
    """Return the planner of a configuration, as `check` has it on this machine with nothing else running."""
    from whisper_peft.model.blueprint import blueprint, sketch
    from whisper_peft.pipeline.forecasting import this_machine
    from whisper_peft.pipeline.material import look_at_speech
    from whisper_peft.recipe.catalog import resolve_recipe
    from whisper_peft.training.planning.cost_model import measured_costs
    from whisper_peft.training.planning.machine_speed import MachineSpeed
    from whisper_peft.training.planning.planner import Planner

    recipe = resolve_recipe("lora-librispeech", overrides)
    looked = look_at_speech(recipe, check_language=lambda row: None)
    model = blueprint(sketch(recipe.model.name).config, recipe.adapter)
    machine = this_machine(recipe.model)
    known = measured_costs()
    speed = MachineSpeed(known.products_per_second[machine.precision.name], known.fresh_bytes_per_second)
    return Planner(recipe, model, looked.material, dataclasses.replace(machine, speed=speed))


def typical(steps: list[float]) -> float:
    """Return the median of the steps after the warm-up."""
    return statistics.median(steps[WARM_UP_STEPS:])


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement, by the constants that it takes; a `hidden` one is known to be no more than that.

    Errors count as shares of `whole`, and `weight` times.
    """

    terms: dict[str, float]
    measured: float
    whole: float
    hidden: bool = False
    weight: float = 1.0


def fit(runs: Path) -> None:
    """Fit the constants of time and of memory, and write them."""
    from whisper_peft.training.planning import cost_model

    path = Path(cost_model.__file__).with_name(cost_model.COSTS_FILE)
    lines = [json.loads(line) for line in runs.read_text().splitlines()]
    planners = [planner_of(line["overrides"]) for line in lines]
    seconds = [row for pair in zip(planners, lines, strict=True) for row in times(*pair)]
    base = planners[0].machine.base_bytes
    held = [row for pair in zip(planners, lines, strict=True) for row in peaks(*pair, base)]
    probed = speeds(lines)
    fitted = {
        "machine": "2 cores of an AMD EPYC, 2 threads, torch for the CPU",
        "probe": probed,
        "seconds": solve(seconds, {name: 1 / one for name, one in probed["products_per_second"].items()}),
        "bytes": solve(held),
        "runs": [label(line["overrides"]) for line in lines],
    }
    path.write_text(json.dumps(fitted, indent=2) + "\n")
    print(f"{len(seconds)} times and {len(held)} peaks of {len(lines)} runs -> {path}")


def speeds(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how fast the machine was before each run, in the middle: what the constants go with."""
    probed: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for line in lines:
        precision = line["overrides"]["model"].get("precision", "fp32")
        probed[precision].append(line["speed"]["products_per_second"])
    fresh = statistics.median(line["speed"]["fresh_bytes_per_second"] for line in lines)
    products = {name: statistics.median(found) for name, found in probed.items()}
    return {"products_per_second": products, "fresh_bytes_per_second": fresh}


def times(planner: Any, line: dict[str, Any]) -> Iterator[Row]:
    """Yield what a step, the start of training and each other stage took."""
    costs, step = line["cost"]["stages"], typical(line["step_seconds"])
    yield Row(dict(planner.step_terms), step, step, weight=STEP_WEIGHT)
    start = max(costs["train"]["seconds"] - len(line["step_seconds"]) * step, 0.1)
    yield Row({f"start {planner.arithmetic.quantize}": 1.0}, start, start)
    for name, stage in planner.stages().items():
        if name != "train":
            yield Row(dict(stage.seconds), costs[name]["seconds"], costs[name]["seconds"])


def peaks(planner: Any, line: dict[str, Any], base: int) -> Iterator[Row]:
    """Yield what each stage held beside weights and process; an earlier one may hide a later one."""
    highest = 0.0
    for name, stage in planner.stages().items():
        peak = line["cost"]["stages"][name]["peak_memory_bytes"]
        yield Row(dict(stage.memory), peak - stage.held - base, peak, hidden=peak <= highest * VISIBLE)
        highest = max(highest, peak)


def solve(rows: Iterable[Row], fastest: Mapping[str, float] = NOTHING) -> dict[str, float]:
    """Return constants of no less than 0 by least squares of relative errors; outliers are left out.

    Args:
        rows: Measurements.
        fastest: Seconds that an operation of a precision takes at least.
    """
    import numpy as np
    from scipy.optimize import nnls

    rows = list(rows)
    names = sorted({name for row in rows for name in row.terms})
    amounts = np.array([[row.terms.get(name, 0.0) for name in names] for row in rows])
    seen = {name for row in rows if not row.hidden for name in row.terms}
    # what shows nowhere is taken for as much as hides it: rather too much memory than too little
    hidden = np.array([row.hidden and set(row.terms) <= seen for row in rows])
    measured, whole = (np.array([getattr(row, name) for row in rows]) for name in ("measured", "whole"))
    least = np.array([fastest.get(name.split()[1], 0.0) if "products" in name else 0.0 for name in names])
    weights = np.array([row.weight for row in rows]) / whole
    scale, kept = np.maximum(np.abs(amounts).max(axis=0), 1e-30), ~hidden
    for _ in range(ROUNDS):
        left = np.maximum(measured - amounts @ least, 0.0)[kept] * weights[kept]
        constants = nnls(amounts[kept] / scale * weights[kept, None], left)[0] / scale + least
        error = (amounts @ constants - measured) / whole
        kept = np.where(hidden, error > 0, np.abs(error) < OUTLIER)
    return dict(zip(names, (float(f"{value:.4g}") for value in constants), strict=True))


def judge(runs: Path) -> None:
    """Print predictions beside measurements as a table of Markdown."""
    print("| configuration | s a step: planned | measured | off | peak: planned | measured | off |")
    print("|---|---|---|---|---|---|---|")
    for line in (json.loads(text) for text in runs.read_text().splitlines()):
        forecast = planner_of(line["overrides"]).forecast()
        step, peak = typical(line["step_seconds"]), line["cost"]["peak_memory_bytes"]
        told = [f"{forecast.step_seconds:.2f}", f"{step:.2f}", off(forecast.step_seconds, step)]
        told += [f"{forecast.peak_memory_bytes / 2**30:.2f} GiB", f"{peak / 2**30:.2f} GiB"]
        told += [off(forecast.peak_memory_bytes, peak)]
        print(f"| {label(line['overrides'])} | {' | '.join(told)} |")


def off(planned: float, measured: float) -> str:
    """Return how far a prediction is from the measurement."""
    return f"{100 * (planned / measured - 1):+.0f} %"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("one").add_argument("overrides", type=json.loads)
    measuring = verbs.add_parser("measure")
    measuring.add_argument("which", choices=sorted(CONFIGURATIONS))
    measuring.add_argument("out", type=Path)
    measuring.add_argument("--speech", type=Path, default=Path("../shared/data"))
    measuring.add_argument("--only", type=int, nargs="*", default=[])
    for verb in ("fit", "judge"):
        verbs.add_parser(verb).add_argument("runs", type=Path)
    chosen = parser.parse_args()
    match chosen.verb:
        case "one":
            run_one(chosen.overrides)
        case "measure":
            measure(chosen.which, chosen.out, chosen.speech, set(chosen.only))
        case "fit":
            fit(chosen.runs)
        case _:
            judge(chosen.runs)


if __name__ == "__main__":
    main()
