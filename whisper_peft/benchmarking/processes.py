"""Each side in a process of its own: its memory and its threads are its own too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

from whisper_peft.benchmarking.sides import SideTask
from whisper_peft.errors import BenchmarkError

Side = Literal["reference", "ours"]

REFERENCE = "padded_reference.py"
_PACKAGE = Path(__file__).resolve().parent.parent


def reference_script() -> Path:
    """Return the reference's script: inside the package when installed, under `tests/` in a checkout.

    Example:
        >>> reference_script().name
        'padded_reference.py'
    """
    inside = _PACKAGE / "benchmarks" / REFERENCE
    return inside if inside.is_file() else _PACKAGE.parent / "tests" / "benchmarks" / REFERENCE


def run_side(side: Side, task: SideTask, folder: Path) -> Path:
    """Let one side do a task, and return the file of its result.

    Args:
        side: Which one.
        task: What to do.
        folder: Gets `task.json`, `result.json` and `log.txt`.

    Raises:
        BenchmarkError: If the process failed; with the end of what it printed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    task_file, result_file, log = folder / "task.json", folder / "result.json", folder / "log.txt"
    program = (
        [str(reference_script())] if side == "reference" else ["-m", "whisper_peft.benchmarking.our_side"]
    )
    command = [sys.executable, *program, str(task.write(task_file)), str(result_file)]
    with log.open("w", encoding="utf-8") as printed:
        ended = subprocess.run(command, stdout=printed, stderr=printed, env=_environment(), check=False)
    if ended.returncode != 0 or not result_file.is_file():
        last = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise BenchmarkError(
            f"the {'reference' if side == 'reference' else 'side of whisper_peft'} failed to {task.what}",
            "".join(last) or f"its process ended with {ended.returncode}",
            f"all that it printed is in {log}",
        )
    return result_file


def _environment() -> dict[str, str]:
    """Return this process's environment, where the tokenizer's threads do not meet the loader's forks."""
    return {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
