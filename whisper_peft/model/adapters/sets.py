"""Several adapters on one base, one of them at work at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft import PeftModel

from whisper_peft.errors import AdapterError, ModelError
from whisper_peft.model.adapters.activity import check_activity
from whisper_peft.model.adapters.attaching import load_adapter
from whisper_peft.model.adapters.folders import fill_adapter, read_adapter_config, read_adapter_state
from whisper_peft.model.adapters.folding import folded
from whisper_peft.model.adapters.fused_lora import fuse_lora
from whisper_peft.model.checkpoints.finding import Checkpoint, hub_name, resolve_checkpoint
from whisper_peft.model.library_noise import no_false_alarms_of_peft
from whisper_peft.model.loading import Whisper

logger = logging.getLogger(__name__)


def add_adapter(whisper: Whisper, folder: Path) -> str:
    """Put one more saved adapter on the model, ready to listen, and return PEFT's name of it.

    PEFT's names are module names, which hold no dots, so they are numbered.

    Raises:
        AdapterError: If it is damaged, was trained on another base, does not fit the model or the adapters
            that are there, or does not change what the model says.
    """
    config = read_adapter_config(folder)
    _refuse_other_base(whisper.checkpoint, config.base_model_name_or_path, folder)
    if not isinstance(whisper.model, PeftModel):
        load_adapter(whisper, folder)
        return "default"
    model, name = whisper.model, f"adapter_{len(whisper.model.peft_config)}"
    config.inference_mode = True
    config.base_model_name_or_path = None
    try:
        with no_false_alarms_of_peft():
            model.add_adapter(name, config)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise AdapterError(
            f"the adapter {folder} cannot share its base with the others",
            str(error),
            "serve it alone, or merge it",
        ) from error
    fuse_lora(model)
    fill_adapter(model, read_adapter_state(folder), folder, adapter_name=name)
    model.set_adapter(name)
    model.requires_grad_(False).eval()
    if warning := check_activity(whisper):
        logger.warning("%s: %s", folder, warning)
    return name


@contextmanager
def at_work(whisper: Whisper, adapter: str | None) -> Iterator[None]:
    """Let one adapter speak, folded into the weights where that changes nothing, or None: the base alone."""
    if not isinstance(whisper.model, PeftModel):
        yield
    elif adapter is None:
        with whisper.model.disable_adapter():
            yield
    else:
        whisper.model.set_adapter(adapter)
        with folded(whisper):
            yield


def _refuse_other_base(served: Checkpoint, recorded: str | None, folder: Path) -> None:
    if recorded is None or hub_name(recorded) == hub_name(served.name):
        return
    try:
        base = resolve_checkpoint(recorded)
    except ModelError:
        logger.warning("%s: its base %s is not at hand to compare with %s", folder, recorded, served.name)
        return
    if base.path.resolve() != served.path.resolve():
        raise AdapterError(
            f"the adapter {folder} was trained on {recorded}",
            f"the base served here is {served.name}",
            "serve it beside its own base",
        )
