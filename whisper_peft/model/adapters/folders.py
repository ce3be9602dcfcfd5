"""Adapter folders on disk, ours and those of other scripts, read safely and repaired."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftConfig,
    PeftModel,
    PeftType,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from whisper_peft.errors import AdapterError, StorageError
from whisper_peft.model.adapters.repairs import MODEL_PREFIX, peft_name, repair_config

logger = logging.getLogger(__name__)

CONFIG_FILE = "adapter_config.json"
SAFE_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"

_BASE = "give the base model that it was trained on"
_ONE = "save one adapter alone"


def is_adapter_folder(folder: Path) -> bool:
    """Return whether a folder holds an adapter."""
    return (folder / CONFIG_FILE).is_file()


def find_adapter_folder(folder: Path) -> Path | None:
    """Return the folder itself or the one inside it that holds an adapter; None if neither does.

    The checkpoints of PEFT's Whisper notebook and of scripts made from it have theirs in `adapter_model/`.
    """
    return next((place for place in (folder, folder / "adapter_model") if is_adapter_folder(place)), None)


def read_adapter_config(folder: Path, *, tell: bool = True) -> PeftConfig:
    """Return an adapter's configuration, repaired where another script or version of PEFT wrote it.

    Args:
        folder: The adapter's folder.
        tell: Log what is repaired.

    Raises:
        AdapterError: If it is missing, damaged, or of a kind that PEFT does not know.
    """
    path = folder / CONFIG_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        repaired, said = repair_config(fields)
        config = _config(repaired)
        PeftType(config.peft_type)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdapterError(
            f"{path} cannot be read", str(error), "give a folder that PEFT has saved"
        ) from error
    for sentence in said if tell else ():
        logger.warning("%s: %s", folder, sentence)
    return config


def _config(fields: dict[str, Any]) -> PeftConfig:
    """Return a configuration that still tells of a LoftQ start, which PEFT drops unless it is to begin so."""
    began_so = fields.get("loftq_config") and fields.get("init_lora_weights") != "loftq"
    loftq = fields.pop("loftq_config") if began_so else None
    config: PeftConfig = PeftConfig.from_peft_type(**fields)
    if loftq and isinstance(config, LoraConfig):
        config.loftq_config = loftq
    return config


def read_adapter_state(folder: Path, *, tell: bool = True) -> dict[str, Tensor]:
    """Return an adapter's tensors under PEFT's own names, whatever they were saved under.

    Only safetensors and plain tensors are read; nothing in the folder is executed.

    Args:
        folder: The adapter's folder.
        tell: Log what is renamed.

    Raises:
        AdapterError: If the weights are missing or damaged.
    """
    try:
        if (folder / SAFE_FILE).is_file():
            state = load_file(folder / SAFE_FILE)
        else:
            state = torch.load(folder / PICKLE_FILE, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise AdapterError(
            f"the adapter {folder} has no weights",
            f"neither {SAFE_FILE} nor {PICKLE_FILE} is there",
            "copy the whole folder",
        ) from None
    except (SafetensorError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise AdapterError(f"the weights in {folder} are damaged", str(error), "copy them again") from error
    if not state:
        raise AdapterError(f"the adapter {folder} has no weights", "its file is empty", "copy it again")
    repaired = {peft_name(name): tensor for name, tensor in state.items()}
    foreign = sorted(name for name in state if peft_name(name) != name)
    if len(repaired) < len(state):
        raise _unfit(folder, f"it holds several adapters, or one weight twice ({foreign[0]})", _ONE)
    if foreign and tell:
        renamed = f"{len(foreign)} weights were renamed, such as {foreign[0]} to {peft_name(foreign[0])}"
        logger.warning("%s: %s", folder, renamed)
    return repaired


def refuse_other_size(model: nn.Module, state: dict[str, Tensor], folder: Path) -> None:
    """Refuse LoRA matrices of another width than the linear layers that they are named after.

    Raises:
        AdapterError: With both widths, or the layer that the model lacks.
    """
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    for name, tensor in sorted(state.items()):
        path, _, matrix = name.removeprefix(MODEL_PREFIX).partition(".lora_")
        if matrix not in ("A.weight", "B.weight") or tensor.dim() != 2:
            continue
        if path not in layers:
            raise _unfit(folder, f"{path} has no place in this model")
        found, layer = tensor.shape[1 if matrix == "A.weight" else 0], layers[path]
        width = layer.in_features if matrix == "A.weight" else layer.out_features
        if found != width:
            raise _other_size(folder, f"{path} is {found} wide there and {width} in this model")


def fill_adapter(
    model: PeftModel, state: dict[str, Tensor], folder: Path, *, adapter_name: str = "default"
) -> None:
    """Copy an adapter's tensors into a model that has the same adapter attached, under the given name.

    Raises:
        AdapterError: If a tensor is missing, unknown, or of another size.
    """
    expected = adapter_state(model, adapter_name=adapter_name)
    for name in sorted(expected.keys() & state.keys()):
        if expected[name].shape != state[name].shape:
            raise _other_shape(folder, name, tuple(state[name].shape), tuple(expected[name].shape))
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        said = [f"{len(missing)} weights are missing, such as {_short(missing[0])}"] if missing else []
        said += (
            [f"{len(unknown)} have no place in this model, such as {_short(unknown[0])}"] if unknown else []
        )
        raise _unfit(folder, "; ".join(said))
    set_peft_model_state_dict(model, state, adapter_name=adapter_name)


def _short(name: str) -> str:
    return name.removeprefix(MODEL_PREFIX)


def _other_shape(folder: Path, name: str, there: tuple[int, ...], here: tuple[int, ...]) -> AdapterError:
    """Tell a rank that the configuration has otherwise from a model of another width."""
    ranks = {".lora_A": 0, ".lora_B": 1}
    axis = next((axis for part, axis in ranks.items() if part in name and len(there) == len(here) == 2), None)
    if axis is not None and there[1 - axis] == here[1 - axis]:
        return AdapterError(
            f"the adapter {folder} contradicts itself",
            f"{_short(name)} has rank {there[axis]}, and its {CONFIG_FILE} says {here[axis]}",
            "copy weights and configuration from one and the same training",
        )
    return _other_size(folder, f"{_short(name)} has shape {there} there and {here} in this model")


def _other_size(folder: Path, why: str) -> AdapterError:
    return AdapterError(f"the adapter {folder} is for a Whisper of another size", why, _BASE)


def _unfit(folder: Path, why: str, todo: str = _BASE) -> AdapterError:
    return AdapterError(f"the adapter {folder} does not fit this model", why, todo)


def adapter_state(model: PeftModel, *, adapter_name: str = "default") -> dict[str, Tensor]:
    """Return what PEFT saves of an adapter model: the adapter's own tensors, not copied."""
    # "auto" would ask the Hub whether the base model's vocabulary has grown
    state: dict[str, Tensor] = get_peft_model_state_dict(
        model, adapter_name=adapter_name, save_embedding_layers=False
    )
    return state


def write_adapter(model: PeftModel, folder: Path) -> None:
    """Save the adapter as safetensors with its configuration.

    Raises:
        StorageError: If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(str(folder), save_embedding_layers=False)
    except (OSError, SafetensorError) as error:
        raise _unwritable(folder, error) from error


def write_named_adapter(model: PeftModel, adapter_name: str, folder: Path) -> None:
    """Save one of several adapters as if it were the only one.

    Raises:
        StorageError: If the folder is in use or cannot be written.
    """
    config = copy.deepcopy(model.peft_config[adapter_name])
    config.inference_mode = True
    state = adapter_state(model, adapter_name=adapter_name)
    refuse_used(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(str(folder))
        # singular value decompositions leave transposed views, which safetensors does not take
        save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, folder / SAFE_FILE)
    except (OSError, SafetensorError) as error:
        raise _unwritable(folder, error) from error


def refuse_used(folder: Path) -> None:
    """Refuse a folder that holds anything.

    Raises:
        StorageError: If it does, or is a file.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise StorageError(
            f"the folder {folder} is in use",
            "nothing is overwritten",
            "give another --output-dir or delete it",
        )


def _unwritable(folder: Path, error: Exception) -> StorageError:
    return StorageError(
        f"the adapter cannot be written to {folder}", str(error), "free some space or give another folder"
    )
