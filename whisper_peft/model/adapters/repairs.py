"""What other scripts write into an adapter folder, turned into what PEFT writes today.

The known writers: PEFT's int8 notebook of 2023 and scripts made from it (fields that PEFT has dropped since),
Whisper-Finetune (AdaLoRA without the total of its steps), Unsloth (a regular expression as targets), trainers
that save a compiled, distributed or unwrapped model (other prefixes), and any of them with
`task_type` SEQ_2_SEQ_LM, for which PEFT passes `input_ids` where Whisper takes `input_features`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import peft
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

MODEL_PREFIX = "base_model.model."
"""PEFT's name of the adapted model; Whisper's encoder and decoder follow under `model.`."""

_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Modules that torch.compile, data parallelism, FSDP and checkpointing put around others."""

_MATRICES = "lora_A|lora_B|lora_E|lora_embedding_A|lora_embedding_B|lora_magnitude_vector|ranknum|ia3_l"
_ADAPTER_NAME = re.compile(rf"(\.(?:{_MATRICES}))\.(?!weight$|bias$)[^.]+(?=\.(?:weight|bias)$|$)")
"""The name of the adapter between the matrix and its `weight`, as a raw state dict has it."""


def peft_name(name: str) -> str:
    """Return the name that PEFT saves a Whisper adapter's tensor under.

    Adapters saved from the inner model lack the prefix, those saved from a wrapped one have it twice, a
    compiled or distributed one adds its own, and a raw state dict has the adapter's name in it.

    Example:
        >>> peft_name("_orig_mod.model.encoder.layers.0.fc1.lora_A.default.weight")
        'base_model.model.model.encoder.layers.0.fc1.lora_A.weight'
        >>> peft_name("base_model.model.proj_out.lora_A.weight")
        'base_model.model.proj_out.lora_A.weight'
    """
    name = _ADAPTER_NAME.sub(r"\1", _WRAPPERS.sub("", name))
    inside = re.search(r"(?:^|\.)((?:encoder|decoder)\..*)", name)
    if inside:
        return f"{MODEL_PREFIX}model.{inside[1]}"
    outside = re.search(r"(?:^|\.)(proj_out\..*)", name)
    return f"{MODEL_PREFIX}{outside[1]}" if outside else name


def repair_config(fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of an adapter's configuration as PEFT reads them, and what was repaired.

    Raises:
        KeyError: If they are of no kind that PEFT knows.

    Example:
        >>> repaired, said = repair_config({"peft_type": "LORA", "r": 8, "task_type": "SEQ_2_SEQ_LM"})
        >>> repaired["task_type"], said
        (None, ['task_type SEQ_2_SEQ_LM is not for Whisper and was read as none'])
    """
    repaired, said = dict(fields), []
    if "peft_type" not in repaired and {"r", "lora_alpha"} <= repaired.keys():
        repaired["peft_type"] = "LORA"
        said.append("peft_type is missing, and was read as LORA by its fields r and lora_alpha")
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[repaired["peft_type"]]
    known = {field.name for field in dataclasses.fields(kind)}
    if dropped := sorted(name for name in repaired.keys() - known if repaired[name]):
        said.append(f"{', '.join(dropped)}: not known to peft {peft.__version__}, and left out")
    repaired = {name: value for name, value in repaired.items() if name in known}
    if (task := repaired.get("task_type")) is not None:
        repaired["task_type"] = None
        said.append(f"task_type {task} is not for Whisper and was read as none")
    if repaired["peft_type"] == "ADALORA" and not repaired.get("total_step"):
        # a length that leaves room for the schedule; it matters to training alone
        repaired["total_step"] = repaired.get("tinit", 0) + repaired.get("tfinal", 0) + 1
        said.append("total_step is missing, which only training needs")
    return repaired, said
