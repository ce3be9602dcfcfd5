"""Whether what a run will write fits the disk: asked before it begins, and before each checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from whisper_peft.errors import StorageError
from whisper_peft.recipe.sections import TrainSection

MOMENT_BYTES = {"adamw": 4, "adamw-8bit": 1}
"""Of each of AdamW's two moments of a weight."""

SPARE_BYTES = 2**20
"""For manifests, states and logs beside the tensors."""


def planned_bytes(weights: Iterable[Tensor], section: TrainSection, *, keeps_best: bool) -> int:
    """Return what the checkpoints of a run take, with the one that is written beside those that stay.

    Example:
        >>> import torch
        >>> section = TrainSection(keep_checkpoints=2)
        >>> planned_bytes([torch.zeros(1000)], section, keeps_best=True) - SPARE_BYTES
        44000
    """
    moment, sizes = MOMENT_BYTES[section.optimizer], [(weight.nbytes, weight.numel()) for weight in weights]
    best = 2 * sum(size for size, _ in sizes) if keeps_best else 0
    one = sum(size + 2 * moment * count for size, count in sizes)
    return one * (section.keep_checkpoints + 1) + best + SPARE_BYTES


def tensor_bytes(content: Any) -> int:
    """Return the bytes of all tensors in nested mappings and sequences.

    Example:
        >>> import torch
        >>> tensor_bytes({"moments": [torch.zeros(2), torch.zeros(3)], "step": 7})
        20
    """
    if isinstance(content, Tensor):
        return content.nbytes
    if isinstance(content, Mapping):
        return sum(map(tensor_bytes, content.values()))
    return sum(map(tensor_bytes, content)) if isinstance(content, list | tuple) else 0


def bytes_in(*folders: Path) -> int:
    """Return what lies in folders already, of a run that goes on."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files)


def refuse_full_disk(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuse to begin what does not fit.

    Args:
        folder: Where it will lie; it need not be there yet.
        needed_bytes: Bytes that it takes.
        what: Its name.

    Raises:
        StorageError: With the bytes that are needed and free.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < needed_bytes:
        sizes = f"{needed_bytes / 2**20:.1f} MiB, the disk has {free / 2**20:.1f} MiB free"
        raise StorageError(
            f"{what} in {folder} takes {sizes}",
            "it would be written by half",
            "free some space, then go on with --resume, or keep fewer (train.keep_checkpoints)",
        )
