"""The mean of a run's last checkpoints, which is often steadier than the last of them.

Weights are averaged one by one (Izmailov et al., 2018). Checkpoints of one run are near enough to each other
for that to hold for the two matrices of an update, too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from whisper_peft.deploy.adapters.values import AveragedAdapter
from whisper_peft.errors import AdapterError, ResumeError
from whisper_peft.model.adapters.activity import check_activity
from whisper_peft.model.adapters.attaching import attach_adapter, save_adapter
from whisper_peft.model.adapters.folders import refuse_used
from whisper_peft.model.adapters.scales import scale_update
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import AdapterSection
from whisper_peft.training.checkpoints import (
    list_checkpoints,
    read_checkpoint,
    restore_weights,
    step_of,
    verify_checkpoint,
)

LEAST = 2
"""One checkpoint has no mean; it is resumed from, or is the adapter itself."""


def last_checkpoints(folder: Path, last: int) -> tuple[list[Path], tuple[str, ...]]:
    """Return the newest whole checkpoints of a run, oldest first, and a line for each that was passed over.

    Args:
        folder: The run's `checkpoints/`.
        last: How many are wanted.

    Raises:
        AdapterError: If there are fewer.
    """
    if last < LEAST:
        raise AdapterError(f"last is {last}", f"a mean needs {LEAST} checkpoints", f"give at least {LEAST}")
    whole: list[Path] = []
    passed_over: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            verify_checkpoint(path)
        except ResumeError as error:
            passed_over.append(f"{error.what}: {error.why}")
        else:
            whole.append(path)
        if len(whole) == last:
            return whole[::-1], tuple(passed_over)
    raise AdapterError(
        f"{folder} has {len(whole)} whole checkpoints",
        f"the mean of {last} was asked for" + "".join(f"; {line}" for line in passed_over),
        "ask for fewer, or train with more --train.keep-checkpoints",
    )


def write_averaged_adapter(
    load: Callable[[], Whisper],
    section: AdapterSection,
    checkpoints: Path,
    *,
    last: int,
    seed: int,
    output_dir: Path,
) -> AveragedAdapter:
    """Write the mean of the newest checkpoints as an adapter folder.

    Args:
        load: Loads the run's base, once all checkpoints are known to be there.
        section: What the run trained.
        checkpoints: The run's `checkpoints/`.
        last: Checkpoints to average.
        seed: The run's, of what no checkpoint holds.
        output_dir: Folder to write.

    Raises:
        AdapterError: If there are too few checkpoints, or the run trained every weight.
        ResumeError: If they are of another adapter than the section says.
        StorageError: If the folder is in use or cannot be written.
    """
    if section.method == "full":
        why = "its checkpoints hold whole models"
        raise AdapterError("the run has no adapter to average", why, "use its model/, or the best checkpoint")
    paths, passed_over = last_checkpoints(checkpoints, last)
    refuse_used(output_dir)
    whisper = load()
    attach_adapter(whisper, section, seed=seed)
    restore_weights(whisper.model, _mean(paths))
    scale_update(whisper, section)
    if warning := check_activity(whisper):
        passed_over = (*passed_over, warning)
    save_adapter(whisper, output_dir)
    return AveragedAdapter(str(output_dir), tuple(map(step_of, paths)), passed_over)


def _mean(paths: list[Path]) -> dict[str, Tensor]:
    """Return the mean of each weight, summed in fp64."""
    sums: dict[str, Tensor] = {}
    for path in paths:
        _, weights, _ = read_checkpoint(path)
        if sums and weights.keys() != sums.keys():
            raise ResumeError(f"the checkpoint {path} holds other weights than the one before it")
        for name, weight in weights.items():
            sums[name] = sums[name] + weight.double() if name in sums else weight.double()
    return {name: (total / len(paths)).to(torch.float32) for name, total in sums.items()}
