"""Runs killed at random moments with SIGKILL, each resumed and compared with one that was never killed.

    python tests/benchmarks/killed_runs.py tests/data/prompts/en --kills 25

Trains LoRA on an untrained narrow Whisper with tiny.en's tokenizer: a run takes seconds, and nothing of what
is tested hangs on the size. Four kinds of run (files or a stream of parquet, one process or two of torchrun)
are first run to their end. Then each kill starts such a run, waits for its moment, kills its processes, and
goes on with `--resume auto`. The adapter's bytes must be those of the run that was never killed.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from whisper_peft.model.checkpoints.companions import save_companions
from whisper_peft.model.loading import load_whisper
from whisper_peft.recipe.sections import ModelSection

ROOT = Path(__file__).resolve().parents[2]
NARROW = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}
STEPS, CHECKPOINT_STEPS, EVAL_STEPS = 30, 5, 6
FIELDS = {
    "--adapter.r": "4",
    "--adapter.lora-dropout": "0.1",
    "--train.max-steps": str(STEPS),
    "--train.batch-size": "2",
    "--train.checkpoint-steps": str(CHECKPOINT_STEPS),
    "--train.learning-rate": "1e-2",
    "--augment.gain.p": "0.5",
    "--augment.spec-augment.p": "0.5",
    "--data.shuffle-window": "8",
    "--eval.steps": str(EVAL_STEPS),
    "--eval.health": "off",
    "--eval.max-utterances": "2",
    "--model.precision": "fp32",
}
PATIENCE_S = 300.0
"""Longest wait for a moment, or for the end of a run."""


@dataclass(frozen=True)
class Kind:
    """One way to run: on files or a stream, in one process or two."""

    name: str
    source: str
    processes: int


KINDS = (
    Kind("files", "short.jsonl", 1),
    Kind("stream", "parquet", 1),
    Kind("files, 2 processes", "short.jsonl", 2),
    Kind("stream, 2 processes", "parquet", 2),
)


@dataclass(frozen=True)
class Kill:
    """What came of one killed run."""

    number: int
    kind: str
    moment: str
    step: int
    checkpoint: str
    half_written: bool
    said: str
    equal: bool


class Killer:
    """Starts, kills and resumes runs in a folder.

    Args:
        folder: Where everything lies.
        rng: Draws the moments.
    """

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng = folder, rng

    def command(self, kind: Kind, run: Path, *words: str) -> list[str]:
        """Return the command line of a run."""
        port = str(self.rng.randrange(20000, 60000))
        several = [
            "-m",
            "torch.distributed.run",
            "--nproc_per_node",
            str(kind.processes),
            "--master_port",
            port,
        ]
        fields = {
            **FIELDS,
            "--model.name": str(self.folder / "model"),
            "--data.source": str(self.folder / kind.source),
            "--data.train": "train",
            "--data.eval": "test",
            "--train.workers": "1",
            "--output-dir": str(run),
        }
        script = str(ROOT / "recipes" / "lora_librispeech.py")
        launched = [*several, script] if kind.processes > 1 else [script]
        switches = [
            "--eval.no-before",
            "--eval.no-short-context",
            "--merge.no-enabled",
            "--train.no-tensorboard",
        ]
        return [sys.executable, *launched, *itertools.chain(*fields.items()), *switches, *words]

    def start(self, kind: Kind, run: Path, *words: str) -> subprocess.Popen[str]:
        """Start a run in a process group of its own."""
        threads = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        with (run.parent / f"{run.name}.txt").open("a", encoding="utf-8") as output:
            return subprocess.Popen(
                self.command(kind, run, *words),
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, **threads},
                start_new_session=True,
            )

    def finish(self, kind: Kind, run: Path, *words: str) -> str:
        """Run to the end, and return the digest of the adapter's bytes."""
        code = self.start(kind, run, *words).wait(PATIENCE_S)
        if code != 0:
            raise SystemExit(f"{run} ended with {code}: {_last_line(run)}")
        return hashlib.sha256((run / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()

    def kill(self, number: int, kind: Kind, moment: str, expected: str) -> Kill:
        """Kill a run at a moment, go on with it, and compare."""
        run = self.folder / f"run-{number:02}"
        process = self.start(kind, run, "--resume", "auto")
        MOMENTS[moment](self, process, run)
        _kill_group(process)
        step, half_written = len(_rows(run)), bool(list(_unfinished(run)))
        said = _last_line(run) if moment in ("a data worker", "one of two") else ""
        found = sorted(path.parent.name for path in run.glob("checkpoints/*/manifest.json"))
        equal = self.finish(kind, run, "--resume", "auto") == expected
        return Kill(
            number, kind.name, moment, step, found[-1] if found else "none", half_written, said, equal
        )

    def in_a_step(self, process: subprocess.Popen[str], run: Path) -> None:
        """Wait for some step, and into the next one."""
        self._wait_for_steps(process, run, self.rng.randrange(1, STEPS - 1))
        time.sleep(self.rng.uniform(0, 0.1))

    def in_evaluation(self, process: subprocess.Popen[str], run: Path) -> None:
        """Wait for a step after which the model is scored, and into that."""
        self._wait_for_steps(process, run, EVAL_STEPS * self.rng.randrange(1, STEPS // EVAL_STEPS))
        time.sleep(self.rng.uniform(0, 0.3))

    def in_a_checkpoint(self, process: subprocess.Popen[str], run: Path) -> None:
        """Wait for a checkpoint's folder that has no manifest yet."""
        self._wait_for_steps(process, run, self.rng.randrange(0, STEPS - CHECKPOINT_STEPS))
        _wait(process, lambda: any(_unfinished(run)), pause_s=0.0)

    def at_the_start(self, process: subprocess.Popen[str], run: Path) -> None:
        """Wait for the run's recipe, and into the loading."""
        _wait(process, (run / "recipe.yaml").exists)
        time.sleep(self.rng.uniform(0, 1.0))

    def a_worker(self, process: subprocess.Popen[str], run: Path) -> None:
        """Kill a data worker alone, and let the run end by itself."""
        self._wait_for_steps(process, run, self.rng.randrange(1, STEPS - 5))
        _wait(process, lambda: bool(_workers(process)))
        os.kill(self.rng.choice(_workers(process)), signal.SIGKILL)
        process.wait(PATIENCE_S)

    def one_of_two(self, process: subprocess.Popen[str], run: Path) -> None:
        """Kill one process of two, and let the launcher end the other."""
        self._wait_for_steps(process, run, self.rng.randrange(1, STEPS - 5))
        os.kill(self.rng.choice(_ranks(process)), signal.SIGKILL)
        process.wait(PATIENCE_S)

    def _wait_for_steps(self, process: subprocess.Popen[str], run: Path, steps: int) -> None:
        _wait(process, lambda: len(_rows(run)) >= steps)


MOMENTS: dict[str, Callable[[Killer, subprocess.Popen[str], Path], None]] = {
    "a step": Killer.in_a_step,
    "an evaluation": Killer.in_evaluation,
    "writing a checkpoint": Killer.in_a_checkpoint,
    "the start": Killer.at_the_start,
    "a data worker": Killer.a_worker,
    "one of two": Killer.one_of_two,
}
"""The moments, in turn; `one of two` is for runs of two processes."""


def _wait(process: subprocess.Popen[str], condition: Callable[[], bool], pause_s: float = 0.005) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the moment did not come; the process has ended with {process.poll()}")
        time.sleep(pause_s)


def _kill_group(process: subprocess.Popen[str]) -> None:
    """Kill what is left of a run: a launcher starts its processes in groups of their own."""
    there = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    for one in there:
        one.kill()
    process.kill()
    process.wait(PATIENCE_S)
    psutil.wait_procs(there, timeout=PATIENCE_S)


def _ranks(process: subprocess.Popen[str]) -> list[int]:
    return [child.pid for child in psutil.Process(process.pid).children()]


def _workers(process: subprocess.Popen[str]) -> list[int]:
    """Return the data workers: forked, so they have the command line of the process that trains."""
    trainers = [psutil.Process(pid) for pid in _ranks(process)]
    trainers = [one for one in trainers if "lora_librispeech" in " ".join(one.cmdline())]
    first = psutil.Process(process.pid)
    alone = "torch.distributed.run" not in first.cmdline()
    parents = [first] if alone else trainers
    found = [child for parent in parents for child in parent.children()]
    return [child.pid for child in found if "lora_librispeech" in " ".join(child.cmdline())]


def _rows(run: Path) -> list[str]:
    log = run / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [line for line in lines if '"loss"' in line]


def _unfinished(run: Path) -> Iterator[Path]:
    folders = (path for path in run.glob("checkpoints/step-*"))
    return (path for path in folders if not (path / "manifest.json").exists())


def _last_line(run: Path) -> str:
    lines = (run.parent / f"{run.name}.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if "error: " in line]
    return said[-1].strip() if said else (lines[-1] if lines else "")


def prepare(speech: Path, folder: Path) -> None:
    """Write the model, and the shortest utterances as a manifest and as parquet."""
    tiny = load_whisper(ModelSection(name="openai/whisper-tiny.en", precision="fp32", device="cpu"))
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig(**{**tiny.config.to_dict(), **NARROW}))
    model.save_pretrained(folder / "model")
    save_companions(tiny.companions, folder / "model")
    lines = (speech / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    rows = sorted(map(json.loads, lines), key=lambda row: float(row["duration_s"]))
    chosen = [row for row in rows if row["split"] == "train"][:25]
    chosen += [row for row in rows if row["split"] == "test"][:3]
    absolute = [{**row, "file_name": str(speech.resolve() / row["file_name"])} for row in chosen]
    manifest = "".join(json.dumps(row) + "\n" for row in absolute)
    (folder / "short.jsonl").write_text(manifest, encoding="utf-8")
    (folder / "parquet").mkdir()
    for split in ("train", "test"):
        part = [row for row in absolute if row["split"] == split]
        table = {
            "audio": [{"bytes": Path(row["file_name"]).read_bytes(), "path": None} for row in part],
            "text": [row["text"] for row in part],
        }
        name = f"{split}-00000-of-00001.parquet"
        pq.write_table(pa.table(table), folder / "parquet" / name, row_group_size=5)


def kill_runs(speech: Path, folder: Path, kills: int, seed: int, moments: Sequence[str]) -> Iterator[Kill]:
    """Yield what came of each killed run."""
    prepare(speech, folder)
    killer = Killer(folder, random.Random(seed))
    wanted = list(itertools.islice(itertools.cycle(_plan(moments)), kills))
    expected = {
        kind: killer.finish(kind, folder / f"whole-{number}")
        for number, kind in enumerate(KINDS)
        if any(kind == one for one, _ in wanted)
    }
    for number, (kind, moment) in enumerate(wanted, 1):
        yield killer.kill(number, kind, moment, expected[kind])


def _plan(moments: Sequence[str]) -> list[tuple[Kind, str]]:
    """Return every moment for every kind of run that has it."""
    several = {"one of two"}
    pairs = [(kind, moment) for moment in moments for kind in KINDS]
    return [(kind, moment) for kind, moment in pairs if kind.processes > 1 or moment not in several]


def table(kills: list[Kill]) -> str:
    """Return the table as Markdown."""
    head = "| # | run | killed in | steps logged | went on from | half a checkpoint left | same bits |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for one in kills:
        left, same = "yes" if one.half_written else "", "yes" if one.equal else "**NO**"
        cells = (one.number, one.kind, one.moment, one.step, one.checkpoint, left, same)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    said = sorted({one.said for one in kills if one.said})
    return "\n".join([*lines, "", "What was said:", *said])


def main() -> None:
    """Kill, resume, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("speech", type=Path, help="folder with metadata.jsonl, such as tests/data/prompts/en")
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--moments", nargs="*", choices=MOMENTS, default=list(MOMENTS))
    parser.add_argument("--folder", type=Path, help="where runs are kept; none: a temporary folder")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = words.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        done = []
        for one in kill_runs(words.speech, folder, words.kills, words.seed, words.moments):
            print(one, file=sys.stderr, flush=True)
            done.append(one)
    print(table(done))
    raise SystemExit(0 if all(one.equal for one in done) else 1)


if __name__ == "__main__":
    main()
