"""Checkpoints: the whole state of a run, whole or not there, verified by checksum when read.

```
checkpoints/step-000200/
    trainable.safetensors   every weight that learns, by name
    optimizer.pt            moments, schedule and scaler (tensors and numbers; read with weights_only)
    state.json              step, place in the data, counters
    manifest.json           sha256 of the three files above
```

The manifest is moved in place when everything else is on the disk, and what has none is no checkpoint: a
crash while writing leaves the last good one. Files are written where they stay and only one file is ever
renamed, so that a mounted drive, whose folders cannot be moved at once, holds the same promise; and a folder
that was copied by half is found out by its checksums. A step that is saved again goes to a folder beside
(`step-000200-2`), and the first is removed after that.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
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
from whisper_peft.training.disk_room import SPARE_BYTES, refuse_full_disk, tensor_bytes

TRAINABLE, OPTIMIZER, STATE, MANIFEST = "trainable.safetensors", "optimizer.pt", "state.json", "manifest.json"
SUMMED = (TRAINABLE, OPTIMIZER, STATE)

NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)
"""What file systems in user space (mounted drives) answer to the wish to sync a folder."""


@dataclass
class RunState:
    """Where a run stands: everything that is not a tensor.

    `rows_per_step` (over all processes) and `total_steps` are the plan that the other numbers belong to.
    `epoch` and `step_in_epoch` are the place of the next step in the data. `skipped` counts rows left out by
    reason, `targets` windows by kind, on all processes. `refused_updates` counts steps that changed no
    weight, `spikes` those of them that stuck out of `recent_losses` and `recent_norms`, `rollbacks` how often
    the run went back to a checkpoint. `micro_batch_parts` tells how often memory ran short. `cache_hits`
    counts windows whose encoder states were kept from before, and `cache_misses` the others.
    `evaluation_abandoned` tells that the run was interrupted before `step` was scored. `stream_place` is
    where the pool of the next step begins in a stream (`StreamPlace`).
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
    refused_in_a_row: int = 0
    spikes: int = 0
    rollbacks: int = 0
    micro_batch_parts: int = 1
    cache_hits: int = 0
    cache_misses: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)
    recent_losses: list[float] = field(default_factory=list)
    recent_norms: list[float] = field(default_factory=list)
    stream_place: dict[str, Any] | None = None


def trainable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights that learn, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def save_checkpoint(
    folder: Path, *, state: RunState, model: nn.Module, optimizer_state: Mapping[str, Any], keep: int | None
) -> Path:
    """Write `folder/step-NNNNNN`, then remove what it replaces: the oldest beyond `keep`, and what is later.

    Later ones are of steps that were taken back: the run went on from before them, since they were damaged.

    Args:
        folder: The run's `checkpoints/`.
        state: Where the run stands.
        model: Holds the weights that learn.
        optimizer_state: State dictionaries of optimiser, schedule and scaler, by name.
        keep: Checkpoints that stay; None: all but an earlier one of this step.

    Raises:
        StorageError: If the disk is full or the folder cannot be written.
    """
    needed = sum(weight.nbytes for weight in trainable_weights(model).values()) + SPARE_BYTES
    refuse_full_disk(folder, needed + tensor_bytes(optimizer_state), f"the checkpoint of step {state.step}")
    try:
        path = _new_folder(folder, state.step)
        try:
            _write(path, state, model, optimizer_state)
        except (OSError, SafetensorError):
            shutil.rmtree(path, ignore_errors=True)
            raise
        for old in _replaced(folder, path, keep):
            remove_checkpoint(old)
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"the checkpoint of step {state.step} in {folder} cannot be written",
            getattr(error, "strerror", None) or str(error),
            "free some space or mend the folder's permissions, then go on with --resume",
        ) from error
    return path


def _new_folder(folder: Path, step: int) -> Path:
    """Make the folder of a checkpoint, beside one of the same step that is whole."""
    names = (f"step-{step:06d}{suffix}" for suffix in ("", *(f"-{use}" for use in range(2, 1000))))
    path = next(place for place in map(folder.joinpath, names) if not (place / MANIFEST).exists())
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def _replaced(folder: Path, path: Path, keep: int | None) -> list[Path]:
    step = step_of(path)
    others = [(other, _place(other)) for other in list_checkpoints(folder) if other != path]
    if keep is None:
        return [other for other, place in others if place[0] == step]
    earlier = [other for other, place in others if place[0] < step]
    return [*(other for other, place in others if place[0] >= step), *earlier[: len(earlier) - keep + 1]]


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint, its manifest first: half of one must not be taken for a damaged one."""
    (path / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(path)


def _write(path: Path, state: RunState, model: nn.Module, optimizer_state: Mapping[str, Any]) -> None:
    weights = {name: weight.detach().cpu().contiguous() for name, weight in trainable_weights(model).items()}
    save_file(weights, path / TRAINABLE)
    _save_states(optimizer_state, path / OPTIMIZER)
    (path / STATE).write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")
    for name in SUMMED:
        _sync(path / name)
    sums = {name: file_digest(path / name) for name in SUMMED}
    partial = path / f".{MANIFEST}.partial"
    partial.write_text(json.dumps(sums, indent=1), encoding="utf-8")
    _sync(partial)
    _sync_folder(path)
    partial.replace(path / MANIFEST)
    for changed in (path, path.parent):
        _sync_folder(changed)


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


def _sync_folder(path: Path) -> None:
    try:
        _sync(path)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_NAME = re.compile(r"step-\d+(-\d+)?")
"""Not a copy that somebody, or a drive, made beside it (`step-000200 (1)`)."""


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a run's `checkpoints/`, oldest first; their files may be damaged."""
    found = (path.parent for path in folder.glob(f"step-*/{MANIFEST}"))
    return sorted((path for path in found if _NAME.fullmatch(path.name)), key=_place)


def step_of(path: Path) -> int:
    """Return the step that a checkpoint is of.

    Example:
        >>> step_of(Path("checkpoints/step-000200-2"))
        200
    """
    return _place(path)[0]


def _place(path: Path) -> tuple[int, int]:
    """Return the step of a checkpoint, and which writing of that step it is."""
    step, _, use = path.name.removeprefix("step-").partition("-")
    return int(step), int(use or "1")


def read_state(path: Path) -> RunState:
    """Return where the run stood at a checkpoint, as its file has it."""
    return RunState(**json.loads((path / STATE).read_text(encoding="utf-8")))


def verify_checkpoint(path: Path) -> RunState:
    """Return the state of a checkpoint whose checksums hold.

    Raises:
        ResumeError: If a file is missing, damaged, or of another layout.
    """
    try:
        sums = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        damaged = [name for name in SUMMED if file_digest(path / name) != sums[name]]
        if not damaged:
            return read_state(path)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ResumeError(f"the checkpoint {path} cannot be read", str(error), _ONE_BEFORE) from error
    why = f"the checksum of {', '.join(damaged)} does not hold"
    raise ResumeError(f"the checkpoint {path} is damaged", why, _ONE_BEFORE)


_ONE_BEFORE = "--resume takes the one before it"


def read_checkpoint(path: Path) -> tuple[RunState, dict[str, Tensor], dict[str, Any]]:
    """Return state, weights and optimiser states of a checkpoint whose checksums hold.

    Raises:
        ResumeError: If a file is missing, damaged, or of another layout.
    """
    state = verify_checkpoint(path)
    optimizer_state = torch.load(path / OPTIMIZER, weights_only=True, map_location="cpu")
    return state, load_file(path / TRAINABLE), optimizer_state


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
