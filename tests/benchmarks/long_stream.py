"""A stream of 100,000 rows: memory over the rows, and the seconds that going on at row 60,000 takes.

    python tests/benchmarks/long_stream.py --rows 100000 --stop 60000

Writes 0.2 s clips as parquet, as a tar, as a gzip tar and as a JSONL manifest of files, and walks through
each as a run does: checked, planned, decoded and labelled, step after step; the model alone is missing.
Then goes on from the place that a checkpoint at the stop would hold, and compares the first step.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import torch

from whisper_peft.data.batches.batching import StepPlan
from whisper_peft.data.batches.loader import StepLoader
from whisper_peft.data.batches.stream_pools import StreamPlace
from whisper_peft.measuring import memory_bytes
from whisper_peft.model.loading import load_whisper
from whisper_peft.pipeline.runs.speech import open_speech
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import Recipe
from whisper_peft.training.plan import TrainingPlan

CLIP_S, RATE, DISTINCT = 0.2, 16_000, 64
STEP_ROWS = 32


def clips() -> list[bytes]:
    """Return distinct clips of noise as FLAC."""
    rng, encoded = np.random.default_rng(0), []
    for _ in range(DISTINCT):
        stream = io.BytesIO()
        soundfile.write(stream, rng.normal(0, 0.1, int(CLIP_S * RATE)), RATE, format="FLAC")
        encoded.append(stream.getvalue())
    return encoded


def write_parquet(folder: Path, rows: int) -> Path:
    """Write the rows as shards of 10,000 in row groups of 1000."""
    content, folder = clips(), folder / "parquet"
    folder.mkdir()
    schema = pa.schema({"audio": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "text": pa.string()})
    for first in range(0, rows, 10_000):
        with pq.ParquetWriter(
            folder / f"train-{first // 10_000:05}-of-{rows // 10_000:05}.parquet", schema
        ) as to:
            for start in range(first, min(first + 10_000, rows), 1000):
                numbers = range(start, min(start + 1000, rows))
                audio = [{"bytes": content[n % DISTINCT], "path": None} for n in numbers]
                to.write_table(
                    pa.table({"audio": audio, "text": [f"row {n}" for n in numbers]}, schema=schema)
                )
    return folder


def write_tar(folder: Path, rows: int, mode: str) -> Path:
    """Write the rows in chapters of 50, laid out like LibriSpeech."""
    path = folder / f"train-clean-100.tar{'.gz' if mode == 'w:gz' else ''}"
    content = clips()
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for chapter in range(rows // 50):
            names = [f"1-{chapter}-{number:04}" for number in range(50)]
            text = "".join(f"{name} ROW {name}\n" for name in names).encode()
            members = [(f"1-{chapter}.trans.txt", text)]
            members += [(f"{name}.flac", content[n % DISTINCT]) for n, name in enumerate(names)]
            for name, body in members:
                entry = tarfile.TarInfo(f"LibriSpeech/train-clean-100/1/{chapter}/{name}")
                entry.size = len(body)
                tar.addfile(entry, io.BytesIO(body))
    return path


def write_manifest(folder: Path, rows: int) -> Path:
    """Write the clips as files, and a row for each use of one."""
    for number, content in enumerate(clips()):
        (folder / f"{number}.flac").write_bytes(content)
    path = folder / "train.jsonl"
    with path.open("w", encoding="utf-8") as lines:
        for number in range(rows):
            row = {"audio": f"{number % DISTINCT}.flac", "text": f"row {number}", "id": str(number)}
            lines.write(json.dumps(row) + "\n")
    return path


@dataclass(frozen=True)
class Walk:
    """One pass over a source, and the way back into it."""

    kind: str
    seconds: float
    memory: tuple[tuple[int, float], ...]
    resumed_s: float
    same: bool


def walk(kind: str, source: Path, stop: int) -> Walk:
    """Walk through a source, then go on from a stop."""
    name = "all" if source.suffix == ".jsonl" else "train.clean.100" if ".tar" in source.name else "train"
    recipe = apply_overrides(
        Recipe(),
        {
            "data": {"source": str(source), "train": name, "eval": name},
            "train": {"batch_size": STEP_ROWS, "max_steps": 10**6},
        },
    )
    whisper = load_whisper(recipe.model)

    def opened() -> tuple[TrainingPlan, StepLoader]:
        rows = open_speech(recipe).check(whisper)
        plan = TrainingPlan(recipe, rows.utterances, rows.collator, whisper.config, 1)
        return plan, StepLoader(rows.collator, rank=0, world_size=1, micro_batches=1, workers=0)

    plan, loader = opened()
    begun, heard, memory, stopped = time.perf_counter(), 0, [], None
    for step in _first_epoch(plan, 0, None):
        next(iter(loader.load([step])))
        before, heard = heard, heard + len(step.utterances)
        if heard // 10_000 > before // 10_000:
            memory.append((heard // 10_000 * 10_000, memory_bytes() / 2**20))
        if stopped is None and heard >= stop:
            stopped = step
    seconds = time.perf_counter() - begun
    assert stopped is not None
    place = StreamPlace.of_dict(json.loads(json.dumps(stopped.place.to_dict()))) if stopped.place else None
    begun = time.perf_counter()
    plan, loader = opened()
    first = next(_first_epoch(plan, stopped.step_in_epoch, place))
    next(iter(loader.load([first])))
    resumed_s = time.perf_counter() - begun
    same = [row.id for row in first.utterances] == [row.id for row in stopped.utterances]
    return Walk(kind, seconds, tuple(memory), resumed_s, same)


def _first_epoch(plan: TrainingPlan, skip: int, place: StreamPlace | None) -> Iterator[StepPlan]:
    return itertools.takewhile(lambda step: step.epoch == 0, plan.steps(epoch=0, skip=skip, place=place))


def main() -> None:
    """Write, walk, go on, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--stop", type=int, default=60_000)
    parser.add_argument("--kinds", nargs="*", default=["parquet", "tar", "tar.gz", "manifest"])
    words = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        writers = {
            "parquet": lambda: write_parquet(folder, words.rows),
            "tar": lambda: write_tar(folder, words.rows, "w"),
            "tar.gz": lambda: write_tar(folder, words.rows, "w:gz"),
            "manifest": lambda: write_manifest(folder, words.rows),
        }
        print("| source | rows a second | memory after each 10,000 rows, MiB | going on | same step |")
        print("|---|---|---|---|---|")
        for kind in words.kinds:
            found = walk(kind, writers[kind](), words.stop)
            memory = ", ".join(f"{mib:.0f}" for _, mib in found.memory)
            speed, same = words.rows / found.seconds, "yes" if found.same else "**NO**"
            print(f"| {kind} | {speed:.0f} | {memory} | {found.resumed_s:.1f} s | {same} |", flush=True)


if __name__ == "__main__":
    main()
