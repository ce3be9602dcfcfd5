"""What each way of adapting tiny.en reaches and costs: one factor at a time around the default LoRA.

    python tests/benchmarks/methods.py run RUNS --speech SPEECH [--most 5] [--only ia3]
    python tests/benchmarks/methods.py table > table.md
    python tests/benchmarks/methods.py list

`SPEECH` holds `accented` and `librispeech/LibriSpeech`. Each cell is one epoch in a process of its own,
scored at cut context on the test speakers of what it learned, and on the other corpus, which tells what it
forgot. Its run becomes RUNS/NAME, for `whisper-peft compare`, its figures docs/results/methods/NAME.json (or
`--cells FOLDER`): blocks run, train, evaluation, cost and meta, with each utterance's errors. `run` goes on
with the cells that have no such file; one that failed keeps its error, until its file is deleted. The table
lists what was not run; cells that failed stay in their row, with the error.

Intervals are 95 %, of 2000 resamples: each draws utterances with replacement, the same for all cells, and
among several seeds as many of them with replacement, whose mean it takes. A difference beside LoRA draws the
same utterances and seeds for both. One seed is drawn as it is, so that its interval holds utterances alone;
three show two thirds of the variance between seeds, as every resample of few does.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_peft.evaluation.resampling import percentile_interval, resampled_rates
from whisper_peft.reporting.figures import count, duration, memory, percent, points

CELLS = Path(__file__).parents[2] / "docs" / "results" / "methods"
CORPORA = {
    "accented": {"source": "accented", "train": "train", "eval": "test"},
    "librispeech": {"source": "librispeech/LibriSpeech", "train": "train-clean-100", "eval": "heldout-clean"},
}
OTHER = {"accented": "librispeech", "librispeech": "accented"}
SEEDS = (42, 43, 44)
RESAMPLES = 2000

COMMON: dict[str, Any] = {
    "model": {"name": "openai/whisper-tiny.en", "precision": "fp32", "device": "cpu"},
    "train": {"epochs": 1, "batch_size": 8, "workers": 1, "tensorboard": False, "checkpoint_steps": 10_000},
    "eval": {"before": False, "audio_context": "cut", "short_context": False, "health": "off"},
    "merge": {"enabled": False},
}
DEFAULT = "LoRA"
UNTUNED = "untuned, at 30 s"

METHODS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "DoRA": {"adapter.use_dora": True},
    "PiSSA": {"adapter.init_lora_weights": "pissa"},
    "EVA": {"adapter.init_lora_weights": "eva"},
    "full": {"adapter.method": "full", "train.learning_rate": 3e-5},
    "AdaLoRA": {"adapter.method": "adalora", "train.learning_rate": 1e-3},
    "IA3": {"adapter.method": "ia3", "train.learning_rate": 1e-2},
    "VeRA": {"adapter.method": "vera", "adapter.r": 256, "train.learning_rate": 1e-2},
    "LoftQ, nf4": {"adapter.init_lora_weights": "loftq", "model.quantize": "nf4"},
    "rsLoRA": {"adapter.use_rslora": True},
}
"""The methods, each with a learning rate of its own where LoRA's would not move it, or tear it."""

FACTORS: dict[str, dict[str, Any]] = {
    "LoRA, nf4": {"model.quantize": "nf4"},
    "LoRA, int8": {"model.quantize": "int8"},
    "LoRA, learning rate 1e-4": {"train.learning_rate": 1e-4},
    "LoRA, learning rate 1e-3": {"train.learning_rate": 1e-3},
    "LoRA, encoder": {"adapter.targets": "encoder-only"},
    "LoRA, decoder": {"adapter.targets": "decoder-only"},
    "LoRA, rank 8": {"adapter.r": 8, "adapter.lora_alpha": 16},
    "LoRA, rank 128": {"adapter.r": 128, "adapter.lora_alpha": 256},
    "LoRA, attention": {"adapter.targets": "attention"},
    "full, learning rate 1e-5": METHODS["full"] | {"train.learning_rate": 1e-5},
    "full, learning rate 1e-4": METHODS["full"] | {"train.learning_rate": 1e-4},
    "DoRA, learning rate 1e-4": METHODS["DoRA"] | {"train.learning_rate": 1e-4},
    "EVA, learning rate 1e-4": METHODS["EVA"] | {"train.learning_rate": 1e-4},
    "PiSSA, learning rate 1e-4": METHODS["PiSSA"] | {"train.learning_rate": 1e-4},
    "rsLoRA, learning rate 1e-4": METHODS["rsLoRA"] | {"train.learning_rate": 1e-4},
    "AdaLoRA, learning rate 3e-3": METHODS["AdaLoRA"] | {"train.learning_rate": 3e-3},
    "IA3, learning rate 3e-3": METHODS["IA3"] | {"train.learning_rate": 3e-3},
    "VeRA, learning rate 3e-3": METHODS["VeRA"] | {"train.learning_rate": 3e-3},
    "LoftQ, int8": {"adapter.init_lora_weights": "loftq", "model.quantize": "int8"},
    "PiSSA, nf4": {"adapter.init_lora_weights": "pissa", "model.quantize": "nf4"},
    "LoRA, rank 2": {"adapter.r": 2, "adapter.lora_alpha": 4},
    "LoRA, rank 64": {"adapter.r": 64, "adapter.lora_alpha": 128},
    "DoRA, int8": {"adapter.use_dora": True, "model.quantize": "int8"},
    "LoRA, learning rate 3e-5": {"train.learning_rate": 3e-5},
}


@dataclass(frozen=True)
class Cell:
    """One run."""

    corpus: str
    name: str
    seed: int
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name of its files."""
        return "-".join(f"{self.corpus} {self.name} {self.seed}".replace(",", "").split())


def cells() -> Iterator[Cell]:
    """Yield every cell, the most useful first."""
    names: list[tuple[str, str, int]] = [("accented", UNTUNED, SEEDS[0])]
    names += [("accented", name, SEEDS[0]) for name in (*METHODS, *FACTORS)]
    names += [("librispeech", name, SEEDS[0]) for name in (UNTUNED, *METHODS)]
    names += [("accented", name, seed) for seed in SEEDS[1:] for name in METHODS]
    names += [("librispeech", name, SEEDS[0]) for name in FACTORS]
    names += [("librispeech", name, seed) for seed in SEEDS[1:] for name in METHODS]
    for corpus, name, seed in names:
        yield Cell(corpus, name, seed, (METHODS | FACTORS).get(name, {}))


def run(folder: Path, runs: Path, speech: Path, most: int, only: str) -> None:
    """Run the cells that have no file in a folder yet, each in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [cell for cell in cells() if only.lower() in cell.key.lower()]
    waiting = [cell for cell in wanted if not _file(folder, cell).exists()]
    for cell in waiting[:most]:
        words = [sys.executable, __file__, "one", str(runs), cell.key]
        words += ["--speech", str(speech), "--cells", str(folder)]
        began = time.monotonic()
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode < 0:  # killed: it is not the cell's fault, and it runs another time
            raise SystemExit(f"{cell.key} was stopped by signal {-done.returncode}")
        if done.returncode:
            error = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
            _write(folder, cell, {"run": _run_block(cell), "error": error})
        ended = ", failed" if done.returncode else ""
        print(f"{cell.key}: {duration(time.monotonic() - began)}{ended}", flush=True)


def run_one(folder: Path, runs: Path, key: str, speech: Path) -> None:
    """Train and score one cell, and write its file."""
    cell = next(cell for cell in cells() if cell.key == key)
    is_untuned = cell.name == UNTUNED
    result = _evaluate(cell, speech) if is_untuned else _finetune(cell, runs / key, speech)
    _write(folder, cell, {"run": _run_block(cell), **result})


def _finetune(cell: Cell, folder: Path, speech: Path) -> dict[str, Any]:
    from whisper_peft import finetune
    from whisper_peft.pipeline.runs.transcript_store import take_over_transcripts
    from whisper_peft.recipe.overrides import apply_overrides
    from whisper_peft.recipe.sections import Recipe
    from whisper_peft.reporting.json_lines import read_predictions

    shutil.rmtree(folder, ignore_errors=True)
    take_over_transcripts(folder, (folder.parent / one.key for one in cells() if _listens_alike(one, cell)))
    data = {**_data(cell.corpus, speech), "mix": (_scored_only(OTHER[cell.corpus], speech),)}
    recipe = apply_overrides(Recipe(name=cell.key), {**COMMON, "data": data, "train.seed": cell.seed})
    report = finetune(apply_overrides(recipe, cell.overrides), output_dir=folder, resume="auto").report
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / "report.html").unlink(missing_ok=True)
    scored = {cell.corpus: None, OTHER[cell.corpus]: OTHER[cell.corpus]}
    counted = {name: _counts(read_predictions(folder, of).after.values()) for name, of in scored.items()}
    return {
        "train": report["train"],
        "evaluation": {**report["evaluation"]["after"], "counts": counted},
        "cost": report["cost"],
        "meta": report["meta"],
    }


def _listens_alike(one: Cell, cell: Cell) -> bool:
    """Tell whether two cells restore the same text: by the same base, of the same corpus."""
    return one.corpus == cell.corpus and one.overrides.get("model.quantize") == cell.overrides.get(
        "model.quantize"
    )


def _evaluate(cell: Cell, speech: Path) -> dict[str, Any]:
    """Score the untuned model at full context: it has learned no other."""
    from whisper_peft import evaluate
    from whisper_peft.reporting.run_report import environment_meta

    scores = {}
    for corpus in (cell.corpus, OTHER[cell.corpus]):
        found = evaluate(COMMON["model"]["name"], model=COMMON["model"], data=_data(corpus, speech))
        scores[corpus] = found
    counted = {name: _counts(found.predictions) for name, found in scores.items()}
    plain = scores[cell.corpus].to_dict()
    return {"evaluation": {**plain, "counts": counted}, "meta": environment_meta(cell.seed).model_dump()}


def _data(corpus: str, speech: Path) -> dict[str, Any]:
    section = CORPORA[corpus]
    return {**section, "source": str(speech / section["source"])}


def _scored_only(corpus: str, speech: Path) -> dict[str, Any]:
    return {**_data(corpus, speech), "train": None, "name": corpus}


def _counts(predictions: Any) -> dict[str, list[int]]:
    """Return errors and words of each utterance, by its id's order."""
    rows = sorted(predictions, key=lambda one: str(one.id))
    errors = [one.substitutions + one.deletions + one.insertions for one in rows]
    return {"errors": errors, "words": [one.hits + one.substitutions + one.deletions for one in rows]}


def _run_block(cell: Cell) -> dict[str, Any]:
    return {"corpus": cell.corpus, "name": cell.name, "seed": cell.seed, "overrides": dict(cell.overrides)}


def _file(folder: Path, cell: Cell) -> Path:
    return folder / f"{cell.key}.json"


def _write(folder: Path, cell: Cell, content: Mapping[str, Any]) -> None:
    """Write a cell's file, a block in a line."""
    path = _file(folder, cell)
    partial = path.with_suffix(".partial")
    blocks = [f"{json.dumps(name)}: {json.dumps(block)}" for name, block in content.items()]
    partial.write_text("{" + ",\n ".join(blocks) + "}\n", encoding="utf-8")
    partial.replace(path)


def table(folder: Path) -> str:
    """Return what was measured as Markdown, a table for each corpus, and what was not run."""
    lines: list[str] = []
    for corpus, other in OTHER.items():
        found = {name: _finished(folder, corpus, name) for name in (UNTUNED, *METHODS, *FACTORS)}
        if not any(found.values()):
            continue
        lines += ["", f"## Learned from {corpus}", "", _line(_headings(corpus, other)), _line(["---"] * 8)]
        base = found[DEFAULT]
        lines += [_line(_row(name, seeds, corpus, base)) for name, seeds in found.items() if seeds]
    return "\n".join([*lines, *_not_run(folder)]).lstrip()


def _not_run(folder: Path) -> Iterator[str]:
    """Yield a line for each corpus of which cells are missing, with their seeds."""
    left: dict[str, dict[str, list[str]]] = {}
    for cell in cells():
        if not _file(folder, cell).exists():
            left.setdefault(cell.corpus, {}).setdefault(cell.name, []).append(str(cell.seed))
    for corpus, names in left.items():
        listed = "; ".join(f"{name} ({', '.join(seeds)})" for name, seeds in names.items())
        yield ""
        yield f"Not run on {corpus} ({sum(map(len, names.values()))} cells), with their seeds: {listed}."


def _headings(corpus: str, other: str) -> list[str]:
    change = f"beside {DEFAULT}, same seeds (95 %)"
    return [
        "cell",
        "seeds",
        f"WER on {corpus} (95 %)",
        change,
        f"WER on {other}, not learned",
        "weights that learn",
        "training",
        "peak memory",
    ]


def _finished(folder: Path, corpus: str, name: str) -> dict[int, dict[str, Any]]:
    files = {seed: _file(folder, Cell(corpus, name, seed)) for seed in SEEDS}
    return {seed: json.loads(file.read_text()) for seed, file in files.items() if file.exists()}


def _row(
    name: str, seeds: Mapping[int, dict[str, Any]], corpus: str, base: Mapping[int, dict[str, Any]]
) -> list[str]:
    good = {seed: cell for seed, cell in seeds.items() if "error" not in cell}
    if not good:
        return [name, str(len(seeds)), f"failed: {_cause(next(iter(seeds.values())))}", *[""] * 5]
    cell = next(iter(good.values()))
    failed = [_cause(one) for one in seeds.values() if "error" in one]
    exact, resampled = _rates(good.values(), corpus)
    trained = cell.get("train")
    return [
        name,
        f"{len(good)}, {len(failed)} failed: {failed[0]}" if failed else str(len(good)),
        f"{percent(exact)} ({' to '.join(map(percent, percentile_interval(resampled)))})",
        "" if name in (DEFAULT, UNTUNED) else _change(good, base, corpus),
        percent(_rates(good.values(), OTHER[corpus])[0]),
        count(trained["trainable_parameters"]) if trained else "0",
        duration(trained["train_seconds"]) if trained else "",
        memory(trained["peak_memory_bytes"]) if trained else "",
    ]


def _cause(cell: Mapping[str, Any]) -> str:
    """Return the error of a cell that failed, as a table's cell takes it."""
    return str(cell["error"]).replace("|", r"\|")


def _change(good: Mapping[int, Mapping[str, Any]], base: Mapping[int, Mapping[str, Any]], corpus: str) -> str:
    """Return the difference from the default over the seeds that both have, with its paired interval."""
    shared = [seed for seed in good if seed in base and "error" not in base[seed]]
    if not shared:
        return ""
    mine, my_draws = _rates([good[seed] for seed in shared], corpus)
    theirs, their_draws = _rates([base[seed] for seed in shared], corpus)
    interval = percentile_interval(my_draws - their_draws)
    return f"{points(mine - theirs)} ({' to '.join(map(points, interval))})"


def _rates(found: Iterable[Mapping[str, Any]], corpus: str) -> tuple[float, NDArray[np.float64]]:
    """Return the mean rate over seeds, and that of each resample of utterances and seeds.

    Resamples are the same for all cells of as many utterances and seeds.
    """
    counted = [cell["evaluation"]["counts"][corpus] for cell in found]
    errors, words = (np.array([one[kind] for one in counted], dtype=np.int64) for kind in ("errors", "words"))
    exact = errors.sum(axis=1) / words.sum(axis=1)
    rates = resampled_rates(errors, words, samples=RESAMPLES, seed=0)
    drawn = np.random.default_rng(1).integers(len(counted), size=rates.shape)
    return float(exact.mean()), np.take_along_axis(rates, drawn, axis=1).mean(axis=1)


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    for name in ("run", "one", "table", "list"):
        action = actions.add_parser(name)
        if name in ("run", "one"):
            action.add_argument("runs", type=Path)
        if name == "one":
            action.add_argument("key")
        if name in ("run", "one"):
            action.add_argument("--speech", type=Path, required=True)
        if name != "list":
            action.add_argument("--cells", type=Path, default=CELLS, help="where the figures are kept")
        if name == "run":
            action.add_argument("--most", type=int, default=10_000, help="cells to run at most")
            action.add_argument("--only", default="", help="part of a cell's name")
    words = parser.parse_args()
    match words.action:
        case "run":
            run(words.cells, words.runs, words.speech, words.most, words.only)
        case "one":
            run_one(words.cells, words.runs, words.key, words.speech)
        case "table":
            print(table(words.cells))
        case _:
            print("\n".join(cell.key for cell in cells()))


if __name__ == "__main__":
    main()
