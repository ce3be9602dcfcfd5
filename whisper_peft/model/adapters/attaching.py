"""Which weights learn: an adapter on frozen weights, or all of them."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PeftType
from torch import Tensor

from whisper_peft.errors import AdapterError
from whisper_peft.model.adapters.activity import check_activity
from whisper_peft.model.adapters.configs import adapter_config
from whisper_peft.model.adapters.folders import (
    adapter_state,
    fill_adapter,
    read_adapter_config,
    read_adapter_state,
    refuse_other_size,
    write_adapter,
)
from whisper_peft.model.adapters.fused_lora import fuse_lora
from whisper_peft.model.adapters.starts import start_at_rounding, wrapped
from whisper_peft.model.checkpoints.weights import read_weights
from whisper_peft.model.library_noise import no_false_alarms_of_peft
from whisper_peft.recipe.adapter_names import adapter_name
from whisper_peft.recipe.sections import AdapterSection

if TYPE_CHECKING:
    from whisper_peft.model.loading import Whisper

logger = logging.getLogger(__name__)

FOUND_AGAIN = ("pissa", "olora", "loftq")
"""Starts that follow from the base's weights alone, the same each time."""


@dataclass(frozen=True, slots=True)
class TrainableSummary:
    """What learns, of how much.

    `names` are the parameters that learn, and `origin` says where they start from.
    """

    trainable: int
    total: int
    names: tuple[str, ...]
    origin: str

    def sentence(self) -> str:
        """Return one line for the console and the report.

        Example:
            >>> TrainableSummary(1_376_256, 39_137_280, ("a", "b"), "a fresh LoRA adapter").sentence()
            '1,376,256 of 39,137,280 parameters learn (3.52 %): a fresh LoRA adapter'
        """
        share = 100 * self.trainable / self.total
        return f"{self.trainable:,} of {self.total:,} parameters learn ({share:.2f} %): {self.origin}"


def attach_adapter(whisper: Whisper, section: AdapterSection, *, seed: int) -> TrainableSummary:
    """Make the model trainable as the section says; `whisper.model` becomes the adapter model.

    What learns is fp32 in every precision. Initial values depend on `seed` alone, and the global random state
    is left as it was.

    Args:
        whisper: The model, without an adapter.
        section: Method, rank, targets, or a whole `peft.PeftConfig`.
        seed: Seed of the initial values.

    Raises:
        AdapterError: If the section does not fit the model.
    """
    if isinstance(whisper.model, PeftModel):
        raise AdapterError(
            "the model has an adapter already",
            "a second one would learn on top of it",
            "train on from it with --adapter.init FOLDER",
        )
    if section.method == "full":
        return _unfreeze(whisper)
    config = adapter_config(whisper.core, section)
    _refuse_unrounded(whisper, section.init_lora_weights)
    model = _attach(whisper, config, seed=seed)
    if section.init is not None:
        fill_adapter(model, read_adapter_state(section.init), section.init)
    elif section.init_lora_weights == "loftq":
        start_at_rounding(whisper, model)
    _refuse_strays(model)
    whisper.model = model
    return _summary(
        whisper, f"on from {section.init}" if section.init else f"a fresh {adapter_name(section)} adapter"
    )


def check_adapter(whisper: Whisper, section: AdapterSection) -> None:
    """Refuse a section that cannot fit the model, without changing it, before anything costly.

    What only PEFT can tell is left to `attach_adapter`.

    Raises:
        AdapterError: If targets are unknown, an adapter to go on from is missing, damaged or of another
            size, or the method does not go with the quantisation.
    """
    if section.method == "full":
        _refuse_rounded(whisper)
        return
    _refuse_unfit(whisper, adapter_config(whisper.core, section))
    _refuse_unrounded(whisper, section.init_lora_weights)
    if section.init is not None:
        refuse_other_size(whisper.core, read_adapter_state(section.init), section.init)


def load_adapter(whisper: Whisper, folder: Path) -> None:
    """Put a saved adapter on the model, ready to listen; `whisper.model` becomes the adapter model.

    One that is untrained is warned of.

    Raises:
        AdapterError: If it is damaged, does not fit the model, or does not change what the model says.
    """
    model = _attach(whisper, read_adapter_config(folder), seed=0)
    fill_adapter(model, read_adapter_state(folder), folder)
    whisper.model = model.requires_grad_(False)
    if warning := check_activity(whisper):
        logger.warning("%s: %s", folder, warning)


def starting_state(whisper: Whisper, folder: Path, start: str) -> dict[str, Tensor]:
    """Return the tensors that a saved adapter had before training, found again from its base's weights.

    It takes what the start took: singular values of every adapted layer.

    Args:
        whisper: The base as it was trained on, without an adapter; PiSSA changes its weights.
        folder: The adapter's folder.
        start: How it began: one of `FOUND_AGAIN`.

    Raises:
        AdapterError: If the start cannot be found again, or the adapter does not fit the base.
    """
    if start not in FOUND_AGAIN:
        raise AdapterError(
            f"the start {start} cannot be found again",
            "more than the base's weights went into it",
            f"use one of {', '.join(FOUND_AGAIN)}",
        )
    _refuse_unrounded(whisper, start)
    model = _attach(whisper, read_adapter_config(folder, tell=False), seed=0)
    if start == "loftq":
        start_at_rounding(whisper, model)
    return {name: tensor.detach().cpu() for name, tensor in adapter_state(model).items()}


def adapter_model(whisper: Whisper) -> PeftModel:
    """Return PEFT's view of the model.

    Raises:
        AdapterError: If the model has no adapter.
    """
    if not isinstance(whisper.model, PeftModel):
        raise AdapterError("the model has no adapter", todo="attach one, or load a run that has one")
    return whisper.model


def save_adapter(whisper: Whisper, folder: Path) -> None:
    """Save the adapter as safetensors, with the name of its base model.

    Raises:
        AdapterError: If the model has none.
        StorageError: If the folder cannot be written.
    """
    write_adapter(adapter_model(whisper), folder)


def enable_gradient_checkpointing(whisper: Whisper) -> None:
    """Recompute the activations of each block in the backward pass instead of keeping them.

    Not re-entrant, so that it works where the blocks' inputs need no gradient: under a frozen encoder's
    convolutions and embeddings. It rests in evaluation mode, where generation caches.
    """
    whisper.core.activation_checkpointing_enable({"use_reentrant": False})


def _refuse_rounded(whisper: Whisper) -> None:
    if whisper.quantize != "none":
        raise AdapterError(
            f"adapter.method is full and model.quantize is {whisper.quantize}",
            "rounded weights cannot learn",
            "use --adapter.method lora, or --model.quantize none",
        )


def _unfreeze(whisper: Whisper) -> TrainableSummary:
    _refuse_rounded(whisper)
    if whisper.precision.values_dtype != torch.float32:
        # Read again: what was rounded to bf16 or fp16 would lack the bits that small updates add to.
        exact = dataclasses.replace(
            whisper.precision, weights_dtype=torch.float32, values_dtype=torch.float32
        )
        whisper.model = read_weights(whisper.checkpoint, exact, quantize="none", device=whisper.device)
        whisper.model.generation_config = whisper.generation_config
        whisper.precision = exact
    whisper.model.requires_grad_(True)
    # The encoder's positions are fixed sinusoids, not learned weights
    whisper.core.model.encoder.embed_positions.requires_grad_(False)
    return _summary(whisper, "every weight")


def _refuse_unfit(whisper: Whisper, config: PeftConfig) -> None:
    if whisper.quantize == "int8" and isinstance(config, LoraConfig) and config.use_dora:
        raise AdapterError(
            "adapter.use_dora with model.quantize int8",
            "PEFT drops the int8 scales when it weighs the layers, and the next step or generation crashes",
            "use --model.quantize nf4, or leave DoRA out",
        )


def _refuse_unrounded(whisper: Whisper, start: str) -> None:
    if start == "loftq" and whisper.quantize == "none":
        raise AdapterError(
            "adapter.init_lora_weights is loftq and model.quantize is none",
            "it starts in what rounding took away, and nothing is rounded",
            "use --model.quantize nf4 or int8, or --adapter.init-lora-weights pissa",
        )


def _attach(whisper: Whisper, config: PeftConfig, *, seed: int) -> PeftModel:
    """Wrap the model, in evaluation mode; weights of the adapter are fp32."""
    _refuse_unfit(whisper, config)
    # PEFT takes the name from the model, and warns where the config has another
    config.base_model_name_or_path, whisper.core.name_or_path = None, _base_name(whisper)
    devices = [whisper.device] if whisper.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), no_false_alarms_of_peft():
            torch.manual_seed(seed)
            model = wrapped(whisper, config)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise AdapterError(
            f"PEFT cannot attach this {_kind(config)} adapter to Whisper",
            str(error),
            "change its targets or fields",
        ) from error
    fuse_lora(model)
    return model.eval()


def _kind(config: PeftConfig) -> str:
    return str(PeftType(config.peft_type).value)


def _base_name(whisper: Whisper) -> str:
    """Return how others find the base: its name, or where its folder lies."""
    path = Path(whisper.checkpoint.name).expanduser()
    return str(path.resolve()) if path.exists() else whisper.checkpoint.name


def _refuse_strays(model: PeftModel) -> None:
    """Refuse a model in which anything but the adapter learns, or nothing does."""
    own = {tensor.data_ptr() for tensor in adapter_state(model).values()}
    learning = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    strays = [name for name, weight in learning if weight.data_ptr() not in own]
    if strays or not learning:
        raise AdapterError(
            f"{strays[0]} would learn" if strays else "nothing would learn",
            "exactly the adapter's weights should",
            "change adapter.config so that everything trainable is saved with the adapter",
        )


def _summary(whisper: Whisper, origin: str) -> TrainableSummary:
    learning = [(name, weight) for name, weight in whisper.model.named_parameters() if weight.requires_grad]
    trainable = sum(weight.numel() for _, weight in learning)
    return TrainableSummary(trainable, whisper.parameter_count, tuple(name for name, _ in learning), origin)
