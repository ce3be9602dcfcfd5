"""Checkpoints: the whole state of a run, written atomically, verified by checksum when read.

```
checkpoints/step-000200/
    trainable.safetensors   every weight that learns, by name
    optimizer.pt            moments, schedule and scaler (tensors and numbers; read with weights_only)
    state.json              step, place in the data, counters
    manifest.json           sha256 of the three files above, written last
```

A folder is written under another name and moved in place when it is whole: a crash leaves the last good
one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from whisper_peft.errors import ResumeError, StorageError

TRAINABLE, OPTIMIZER, STATE, MANIFEST = "trainable.safetensors", "optimizer.pt", "state.json", "manifest.json"


@dataclass
class RunState:
    """Where a run stands: everything that is not a tensor.

    `rows_per_step` (over all processes) and `total_steps` are the plan that the other numbers belong to.
    `epoch` and `step_in_epoch` are the place of the next step in the data. `skipped` counts rows left out by
    reason, on all processes; `refused_updates` counts steps that changed no weight, `cache_hits` the windows
    whose encoder states were kept from before, and `cache_misses` the others. `evaluation_abandoned` tells
    that the run was interrupted before `step` was scored.
    """

    rows_per_step: int = 0
    total_steps: int = 0
    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    audio_seconds: float = 0.0
    train_seconds: float = 0.0
    wait_seconds: float = 0.0
    first_loss: float | None = None
    last_loss: float = float("nan")
    best_step: int | None = None
    best_wer: float | None = None
    evaluations_without_gain: int = 0
    evaluation_abandoned: bool = False
    refused_updates: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    skipped: dict[str, int] = field(default_factory=dict)


def trainable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights that learn, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def save_checkpoint(
    folder: Path, *, state: RunState, model: nn.Module, optimizer_state: Mapping[str, Any], keep: int | None
) -> Path:
    """Write `folder/step-NNNNNN` atomically and remove the oldest beyond `keep`.

    Args:
        folder: The run's `checkpoints/`.
        state: Where the run stands.
        model: Holds the weights that learn.
        optimizer_state: State dictionaries of optimiser, schedule and scaler, by name.
        keep: Checkpoints that stay; None: all.

    Raises:
        StorageError: If the disk is full or the folder cannot be written.
    """
    final = folder / f"step-{state.step:06d}"
    partial = folder / f".partial-{state.step:06d}"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write(partial, state, model, optimizer_state)
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise StorageError(
            f"the checkpoint {final} cannot be written",
            getattr(error, "strerror", None) or str(error),
            "free some space or mend the folder's permissions, then go on with --resume",
        ) from error
    for old in list_checkpoints(folder)[:-keep] if keep else []:
        shutil.rmtree(old)
    return final


def keep_referred(best: Path, checkpoints: Path) -> None:
    """Remove best weights that no checkpoint refers to.

    Only now: a run that is killed between an evaluation and its checkpoint goes on from an older checkpoint,
    and may still need the weights that were best then.
    """
    states = [
        json.loads((path / STATE).read_text(encoding="utf-8")) for path in list_checkpoints(checkpoints)
    ]
    for old in list_checkpoints(best):
        if _step(old) not in {state["best_step"] for state in states}:
            shutil.rmtree(old)


def _write(partial: Path, state: RunState, model: nn.Module, optimizer_state: Mapping[str, Any]) -> None:
    weights = {name: weight.detach().cpu().contiguous() for name, weight in trainable_weights(model).items()}
    save_file(weights, partial / TRAINABLE)
    _save_states(optimizer_state, partial / OPTIMIZER)
    (partial / STATE).write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")
    sums = {name: _sha256(partial / name) for name in (TRAINABLE, OPTIMIZER, STATE)}
    (partial / MANIFEST).write_text(json.dumps(sums, indent=1), encoding="utf-8")
    for name in (*sums, MANIFEST):
        _sync(partial / name)


def _save_states(states: Mapping[str, Any], path: Path) -> None:
    try:
        torch.save(dict(states), path)
    except RuntimeError as error:  # what torch's writer makes of a full disk
        raise OSError(str(error).partition("\n")[0]) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the whole checkpoints in a run's `checkpoints/`, oldest first."""
    return sorted((path.parent for path in folder.glob(f"step-*/{MANIFEST}")), key=_step)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def read_checkpoint(path: Path) -> tuple[RunState, dict[str, Tensor], dict[str, Any]]:
    """Return state, weights and optimiser states of a checkpoint whose checksums hold.

    Raises:
        ResumeError: If a file is missing, damaged, or of another layout.
    """
    try:
        sums = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        damaged = [name for name, digest in sums.items() if _sha256(path / name) != digest]
        if damaged:
            raise ResumeError(
                f"the checkpoint {path} is damaged",
                f"the checksum of {', '.join(damaged)} does not hold",
                "delete that folder; --resume then takes the one before it",
            )
        state = RunState(**json.loads((path / STATE).read_text(encoding="utf-8")))
        optimizer_state = torch.load(path / OPTIMIZER, weights_only=True, map_location="cpu")
        return state, load_file(path / TRAINABLE), optimizer_state
    except (OSError, ValueError, TypeError) as error:
        raise ResumeError(f"the checkpoint {path} cannot be read", str(error)) from error


def restore_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy saved weights into the weights that learn.

    Raises:
        ResumeError: If names or shapes differ.
    """
    learning = trainable_weights(model)
    wrong = _mismatches(learning, weights)
    if wrong:
        raise ResumeError(
            f"the checkpoint does not fit the model ({len(wrong)} weights, such as {wrong[0]})",
            "it was written by a run with another adapter or another checkpoint",
            "resume with the recipe.yaml of that run",
        )
    with torch.no_grad():
        for name, weight in learning.items():
            weight.copy_(weights[name])


def _mismatches(learning: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> list[str]:
    names: Iterable[str] = sorted(learning.keys() ^ saved.keys())
    return [*names, *(n for n in learning.keys() & saved.keys() if learning[n].shape != saved[n].shape)]
