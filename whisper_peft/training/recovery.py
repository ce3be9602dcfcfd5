"""What is left of a run that was stopped or killed: which checkpoint it goes on from, and what may go."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from whisper_peft.errors import ResumeError
from whisper_peft.training.checkpoints import (
    MANIFEST,
    list_checkpoints,
    read_state,
    remove_checkpoint,
    step_of,
    verify_checkpoint,
)


def newest_whole(checkpoints: Path, best: Path) -> tuple[Path | None, tuple[str, ...]]:
    """Return the newest checkpoint that can be gone on from, and a line for each damaged one passed over.

    Args:
        checkpoints: The run's `checkpoints/`.
        best: Its `best/`: a checkpoint is no better than the weights that it refers to.

    Raises:
        ResumeError: If there are checkpoints and all are damaged.
    """
    passed_over: list[str] = []
    for path in reversed(list_checkpoints(checkpoints)):
        try:
            best_step = verify_checkpoint(path).best_step
            if best_step is not None:
                verify_checkpoint(find_checkpoint(best, best_step))
        except ResumeError as error:
            passed_over.append(f"{error.what}: {error.why}")
        else:
            return path, tuple(f"{said}; going on from {path.name}" for said in passed_over)
    if passed_over:
        raise ResumeError(
            f"no checkpoint in {checkpoints} is whole",
            "; ".join(passed_over),
            "start again in another --output-dir, or bring back a copy of that folder",
        )
    return None, ()


def find_checkpoint(folder: Path, step: int) -> Path:
    """Return the newest checkpoint of a step.

    Raises:
        ResumeError: If there is none.
    """
    found = [path for path in list_checkpoints(folder) if step_of(path) == step]
    if not found:
        raise ResumeError(f"{folder} has no weights of step {step}", "they were removed, or not copied")
    return found[-1]


def keep_referred(best: Path, checkpoints: Path) -> None:
    """Remove best weights that no checkpoint refers to.

    Only now: a run that is killed between an evaluation and its checkpoint goes on from an older checkpoint,
    and may still need the weights that were best then.
    """
    referred = set()
    for path in list_checkpoints(checkpoints):
        with suppress(OSError, ValueError, TypeError):  # of a damaged one nothing is wanted
            referred.add(read_state(path).best_step)
    for old in list_checkpoints(best):
        if step_of(old) not in referred:
            remove_checkpoint(old)


def remove_leftovers(folder: Path) -> None:
    """Remove what a run that was killed while writing left: folders without a manifest."""
    for path in folder.glob("step-*"):
        if path.is_dir() and not (path / MANIFEST).exists():
            shutil.rmtree(path, ignore_errors=True)
