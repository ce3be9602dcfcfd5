"""The checkpoints of one run and its best weights, kept by the main process for all."""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator
from torch import nn

from whisper_peft.training.checkpoints import (
    RunState,
    list_checkpoints,
    read_checkpoint,
    read_state,
    restore_weights,
    save_checkpoint,
)
from whisper_peft.training.optimization import Optimization
from whisper_peft.training.processes import on_main_process
from whisper_peft.training.recovery import find_checkpoint, keep_referred, newest_whole, remove_leftovers

CHECKPOINTS = "checkpoints"
BEST = "best"
"""Name of the folder, beside the checkpoints, that holds the weights with the lowest WER."""


class RunCheckpoints:
    """Save and restore a run.

    Args:
        folder: Run folder.
        accelerator: The processes; the main one writes.
        keep: Newest checkpoints that stay.
    """

    def __init__(self, folder: Path, accelerator: Accelerator, *, keep: int) -> None:
        self.checkpoints, self.best = folder / CHECKPOINTS, folder / BEST
        self.accelerator, self.keep = accelerator, keep

    def clear_leftovers(self) -> None:
        """Remove what a run that was killed while writing left."""

        def clear() -> None:
            for folder in (self.checkpoints, self.best):
                remove_leftovers(folder)

        on_main_process(self.accelerator, clear)

    def save(self, state: RunState, model: nn.Module, optimization: Optimization) -> Path:
        """Write a checkpoint, remove those it replaces, and return its folder.

        Raises:
            StorageError: If the disk is full or the folder cannot be written.
        """

        def write() -> Path:
            optimizer_state = optimization.state_dict()
            path = save_checkpoint(
                self.checkpoints, state=state, model=model, optimizer_state=optimizer_state, keep=self.keep
            )
            keep_referred(self.best, self.checkpoints)
            return path

        return on_main_process(self.accelerator, write)

    def before_refusals(self) -> Path | None:
        """Return the newest checkpoint whose last step was taken, None if there is none."""

        def find() -> Path | None:
            newest_first = reversed(list_checkpoints(self.checkpoints))
            return next((path for path in newest_first if not read_state(path).refused_in_a_row), None)

        return on_main_process(self.accelerator, find)

    def save_best(self, state: RunState, model: nn.Module) -> None:
        """Write the weights as the best so far.

        Raises:
            StorageError: If the disk is full or the folder cannot be written.
        """

        def write() -> None:
            save_checkpoint(self.best, state=state, model=model, optimizer_state={}, keep=None)

        on_main_process(self.accelerator, write)

    def restore_best(self, step: int, model: nn.Module) -> None:
        """Put back the best weights, which are of this step.

        Raises:
            ResumeError: If they are gone or damaged.
        """
        _, weights, _ = read_checkpoint(find_checkpoint(self.best, step))
        restore_weights(model, weights)


def checkpoint_to_resume(folder: Path) -> tuple[Path | None, tuple[str, ...]]:
    """Return the newest whole checkpoint of a run folder, and what to say of damaged ones.

    Raises:
        ResumeError: If there are checkpoints and all are damaged.
    """
    return newest_whole(folder / CHECKPOINTS, folder / BEST)
