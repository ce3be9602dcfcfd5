"""finetune(): from a recipe to a run folder."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError

from whisper_peft.errors import StorageError
from whisper_peft.pipeline.runs.contradictions import refuse_contradictions
from whisper_peft.pipeline.runs.run import Run
from whisper_peft.pipeline.runs.run_folder import Resume, RunFolder, choose_folder
from whisper_peft.pipeline.runs.run_lock import RunLock
from whisper_peft.pipeline.runs.stages import Finetuning
from whisper_peft.recipe.catalog import resolve_recipe
from whisper_peft.recipe.overrides import given_overrides
from whisper_peft.recipe.sections import Recipe
from whisper_peft.training.events import Callback
from whisper_peft.training.processes import failing_together, on_main_process, start_processes

NO_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""Numbers of the system's errors that mean a disk that is full or may not be written."""


def finetune(
    recipe: str | Path | Recipe,
    *,
    model: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    augment: Mapping[str, Any] | None = None,
    targets: Mapping[str, Any] | None = None,
    adapter: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    eval: Mapping[str, Any] | None = None,
    merge: Mapping[str, Any] | None = None,
    output_dir: str | Path | None = None,
    resume: Resume = False,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Score, train, score again, merge and report.

    Args:
        recipe: A recipe, the name of one (`whisper-peft recipes list`), or a YAML file.
        model: Fields of the section to override, such as `{"quantize": "int8"}`. So for the other sections.
        data: Overrides.
        augment: Overrides.
        targets: Overrides.
        adapter: Overrides.
        train: Overrides.
        eval: Overrides.
        merge: Overrides.
        output_dir: Run folder. None: the recipe's, else the first free `runs/NAME`.
        resume: Go on from the newest whole checkpoint of the run in `output_dir`; `"auto"`: if it holds one,
            and start otherwise. Without `output_dir` that is `runs/NAME`.
        callbacks: Called with every `Event`; True stops the run, named numbers are added to the log.

    Raises:
        WhisperPeftError: With what is wrong, why, and what to do; where that can be, before anything costly.

    Example:
        >>> run = finetune("lora-librispeech", train={"max_steps": 200})  # doctest: +SKIP
        >>> print(run.summary())  # doctest: +SKIP
    """
    sections = {"model": model, "data": data, "augment": augment, "adapter": adapter, "train": train}
    sections |= {"targets": targets, "eval": eval, "merge": merge}
    chosen = resolve_recipe(recipe, given_overrides(**sections, output_dir=output_dir))
    refuse_contradictions(chosen)
    accelerator = start_processes(chosen.model.device)
    with RunLock() as lock:
        taken = on_main_process(accelerator, lambda: choose_folder(chosen, lock, resume=resume))
        return _run(chosen, taken, accelerator, (lambda _: lock.refuse_if_lost(), *callbacks))


def _run(recipe: Recipe, taken: RunFolder, accelerator: Accelerator, callbacks: tuple[Callback, ...]) -> Run:
    folder = taken.path
    try:
        with failing_together(accelerator):
            work = Finetuning(recipe, folder, accelerator, taken.resumes, callbacks)
            for sentence in taken.sentences:
                work.say(sentence)
            return work.run()
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno not in NO_STORAGE:
            raise
        raise StorageError(
            f"the run folder {folder} cannot be written",
            str(error),
            f"free some space or mend its permissions, then go on: --resume --output-dir {folder}",
        ) from error
    finally:
        accelerator.free_memory()
