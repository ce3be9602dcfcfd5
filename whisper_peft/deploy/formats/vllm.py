"""What vLLM serves: the adapter on its base, un-merged, and the merged model beside it.

vLLM takes LoRA adapters of Whisper since version 0.18 (vllm-project/vllm, pull request 29856).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftConfig, PeftType
from torch import Tensor

from whisper_peft.deploy.export_values import ExportFormat
from whisper_peft.deploy.formats.huggingface import read_companions, read_huggingface, write_huggingface
from whisper_peft.deploy.weights import keep_cast, save_tensors
from whisper_peft.model.adapters.folders import (
    CONFIG_FILE,
    SAFE_FILE,
    read_adapter_config,
    read_adapter_state,
)
from whisper_peft.model.adapters.repairs import MODEL_PREFIX
from whisper_peft.model.loading import Whisper

MERGED, ADAPTER, README = "merged", "adapter", "README.md"

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values of `--max-lora-rank` (vllm-project/vllm, `vllm/config/lora.py`)."""

LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
"""Linear layers that take an adapter there. Queries, keys and values are packed into `qkv_proj` and `kv_proj`
(`vllm/model_executor/models/whisper.py`), so that they may be adapted together or apart."""

CHANGES_BASE = ("pissa", "olora", "corda", "loftq")
"""Initial values of LoRA that come with a changed base model, which vLLM does not have."""


def write_vllm(whisper: Whisper, folder: Path, quantization: str) -> None:
    """Write the merged model, as Hugging Face's folder, and how to serve it."""
    (folder / MERGED).mkdir()
    write_huggingface(whisper, folder / MERGED, quantization)
    (folder / README).write_text(_readme(None, "there is none: this is a whole model"), encoding="utf-8")


def write_vllm_adapter(adapter: Path, folder: Path) -> str | None:
    """Write the adapter beside the merged model, and the command that serves it.

    Args:
        adapter: The folder that was trained; names of other scripts are repaired.
        folder: What `write_vllm` wrote.

    Returns:
        Why vLLM cannot serve the adapter, and it was left out; None where it can.

    Raises:
        AdapterError: If the adapter cannot be read.
    """
    config, state = read_adapter_config(adapter), read_adapter_state(adapter)
    problems = lint_adapter(config, state)
    if problems:
        (folder / README).write_text(_readme(None, "; ".join(problems)), encoding="utf-8")
        return "; ".join(problems)
    assert isinstance(config, LoraConfig)
    (folder / ADAPTER).mkdir()
    save_tensors(state, folder / ADAPTER / SAFE_FILE)
    fields = {**_plain(config), "base_model_name_or_path": config.base_model_name_or_path}
    text = json.dumps(fields, indent=2, sort_keys=True) + "\n"
    (folder / ADAPTER / CONFIG_FILE).write_text(text, encoding="utf-8")
    (folder / README).write_text(_readme(config, ""), encoding="utf-8")
    return None


def _plain(config: LoraConfig) -> dict[str, Any]:
    """Return a configuration as JSON takes it, in an order of its own."""
    fields: dict[str, Any] = config.to_dict()
    return {name: sorted(value) if isinstance(value, set) else value for name, value in fields.items()}


def lint_adapter(config: PeftConfig, state: Mapping[str, Tensor]) -> list[str]:
    """Return why vLLM would refuse an adapter, or serve another model than was trained; empty where it fits.

    Args:
        config: The adapter's configuration.
        state: Its tensors under PEFT's names.

    Example:
        >>> lint_adapter(LoraConfig(r=8, target_modules=["q_proj"]), {})
        []
        >>> lint_adapter(LoraConfig(r=8, target_modules=["q_proj"], use_dora=True), {})
        ['vLLM does not know DoRA (use_dora)']
    """
    if not isinstance(config, LoraConfig) or config.peft_type != PeftType.LORA:
        return [f"vLLM serves LoRA, and this is {type(config).__name__}"]
    start = str(config.init_lora_weights)
    said = {
        "vLLM does not know DoRA (use_dora)": config.use_dora,
        "vLLM takes no other trained layers (modules_to_save)": config.modules_to_save,
        f"vLLM takes no trained biases (bias={config.bias})": config.bias != "none",
        "vLLM takes no bias in the adapter (lora_bias)": config.lora_bias,
        "vLLM takes one rank and one alpha (rank_pattern, alpha_pattern)": config.rank_pattern
        or config.alpha_pattern,
        f"its rank of {config.r} is over vLLM's {RANKS[-1]}": config.r > RANKS[-1],
        f"its initial values ({start}) come with a changed base": start.startswith(CHANGES_BASE),
    }
    strays = sorted({name for name in state if not _is_served(name)})
    unknown = [f"vLLM adapts {', '.join(LAYERS)}, and not {strays[0]}"] if strays else []
    return [problem for problem, is_so in said.items() if is_so] + unknown


def _is_served(name: str) -> bool:
    path, _, matrix = name.removeprefix(MODEL_PREFIX).partition(".lora_")
    return matrix in ("A.weight", "B.weight") and path.rsplit(".", 1)[-1] in LAYERS


def _readme(config: LoraConfig | None, why: str) -> str:
    """Return how the folder is served."""
    head = "# A fine-tuned Whisper for vLLM\n\nThe merged model, with any version that serves Whisper:\n\n"
    merged = head + _shell(f"vllm serve ./{MERGED} --served-model-name tuned")
    if config is None:
        return merged + f"\nThere is no adapter to serve un-merged: {why}.\n"
    rank = min(rank for rank in RANKS if rank >= config.r)
    command = (
        f"vllm serve {config.base_model_name_or_path} --enable-lora --max-lora-rank {rank} "
        f"--lora-modules tuned=./{ADAPTER}"
    )
    return (
        f"{merged}\nThe adapter on its base, beside others on the same one (vLLM 0.18 or newer):\n\n"
        f"{_shell(command)}\nEither way a request names `tuned` as its model:\n\n"
        + _shell(
            "curl localhost:8000/v1/audio/transcriptions -F model=tuned -F file=@clip.wav -F language=en"
        )
        + "\nCompare a few transcripts of the two before you rely on the second: the first was checked.\n"
    )


def _shell(command: str) -> str:
    return f"```bash\n{command}\n```\n"


def read_vllm(folder: Path) -> Mapping[str, Tensor]:
    """Read the weights of the merged model.

    Raises:
        ModelError: If they are missing or damaged.
    """
    return read_huggingface(folder / MERGED)


def read_merged_companions(folder: Path) -> Mapping[str, Any]:
    """Return what the files of the merged model tell beside its weights."""
    return read_companions(folder / MERGED)


FORMAT = ExportFormat(
    name="vllm",
    quantizations=("float16", "bfloat16", "float32"),
    exact=("float16", "bfloat16", "float32"),
    write=write_vllm,
    read=read_vllm,
    keep=keep_cast,
    runtime="transformers",
    read_companions=read_merged_companions,
    write_adapter=write_vllm_adapter,
    model_folder=MERGED,
)
