"""Adapter folders on disk, ours and those of other scripts, read safely and repaired."""

from __future__ import annotations

import json
import logging
import pickle
import re
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, PeftType, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from whisper_peft.errors import AdapterError, StorageError

logger = logging.getLogger(__name__)

CONFIG_FILE = "adapter_config.json"
SAFE_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"

MODEL_PREFIX = "base_model.model."
"""PEFT's name of the adapted model; Whisper's encoder and decoder follow under `model.`."""

_BASE = "give the base model that it was trained on"


def is_adapter_folder(folder: Path) -> bool:
    """Return whether a folder holds an adapter."""
    return (folder / CONFIG_FILE).is_file()


def read_adapter_config(folder: Path) -> PeftConfig:
    """Return an adapter's configuration, without the task type that Whisper cannot have.

    Other scripts write `task_type` SEQ_2_SEQ_LM, for which PEFT passes `input_ids`; Whisper takes
    `input_features` and stops with a TypeError.

    Raises:
        AdapterError: If it is missing, damaged, or of a kind that PEFT does not know.
    """
    try:
        config: PeftConfig = PeftConfig.from_pretrained(str(folder))
        PeftType(config.peft_type)
    except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise AdapterError(
            f"{folder / CONFIG_FILE} cannot be read", str(error), "give a folder that PEFT has saved"
        ) from error
    if config.task_type is not None:
        logger.warning("%s: task_type %s is not for Whisper and was read as none", folder, config.task_type)
        config.task_type = None
    return config


def read_adapter_state(folder: Path) -> dict[str, Tensor]:
    """Return an adapter's tensors under PEFT's own names, whatever they were saved under.

    Only safetensors and plain tensors are read; nothing in the folder is executed.

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
    repaired = {peft_name(name): tensor for name, tensor in state.items()}
    foreign = sum(name not in state for name in repaired)
    if foreign:
        logger.warning("%s: %d weights have other names than PEFT gives and were renamed", folder, foreign)
    return repaired


def peft_name(name: str) -> str:
    """Return the name that PEFT saves a Whisper adapter's tensor under.

    Adapters saved from the inner model lack the prefix, those saved from a wrapped one have it twice, and a
    raw state dict has the adapter's name in it.

    Example:
        >>> peft_name("model.encoder.layers.0.fc1.lora_A.default.weight")
        'base_model.model.model.encoder.layers.0.fc1.lora_A.weight'
        >>> peft_name("base_model.model.proj_out.lora_A.weight")
        'base_model.model.proj_out.lora_A.weight'
    """
    name = name.replace(".default", "")
    inside = re.search(r"(?:^|\.)((?:encoder|decoder)\..*)", name)
    if inside:
        return f"{MODEL_PREFIX}model.{inside[1]}"
    outside = re.search(r"(?:^|\.)(proj_out\..*)", name)
    return f"{MODEL_PREFIX}{outside[1]}" if outside else name


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
            there, here = tuple(state[name].shape), tuple(expected[name].shape)
            raise _other_size(
                folder, f"{name.removeprefix(MODEL_PREFIX)} has shape {there} there and {here} in this model"
            )
    problems = [f"{name} is missing" for name in sorted(expected.keys() - state.keys())]
    problems += [f"{name} has no place in this model" for name in sorted(state.keys() - expected.keys())]
    if problems:
        raise _unfit(folder, f"{problems[0].removeprefix(MODEL_PREFIX)}, and {len(problems) - 1} more")
    set_peft_model_state_dict(model, state, adapter_name=adapter_name)


def _other_size(folder: Path, why: str) -> AdapterError:
    return AdapterError(f"the adapter {folder} is for a Whisper of another size", why, _BASE)


def _unfit(folder: Path, why: str) -> AdapterError:
    return AdapterError(f"the adapter {folder} does not fit this model", why, _BASE)


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
        raise StorageError(
            f"the adapter cannot be written to {folder}",
            str(error),
            "free some space or give another folder",
        ) from error
