"""What a Whisper is made of, told without its weights: its sizes, what learns, and the bytes of it all.

The model is built on torch's meta device, which has shapes and no memory, and the adapter is attached to it
by PEFT itself: the counts are those of the model that is trained later, for any adapter that PEFT knows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperForConditionalGeneration

from whisper_peft.errors import AdapterError, ModelError
from whisper_peft.model.adapters.configs import adapter_config
from whisper_peft.model.checkpoints.ctranslate2_format import ctranslate2_config
from whisper_peft.model.checkpoints.finding import HUB_NAMES, repository_of, size_of
from whisper_peft.model.checkpoints.hub import cached_folder, weight_files
from whisper_peft.model.checkpoints.installed_weights import installed_wheel
from whisper_peft.model.checkpoints.openai_format import openai_config
from whisper_peft.model.library_noise import no_false_alarms_of_peft
from whisper_peft.recipe.sections import AdapterSection

ENGLISH, MULTILINGUAL, WITH_CANTONESE = 51864, 51865, 51866
"""Vocabularies of the English checkpoints, of the multilingual ones, and of those since large-v3."""

FP16, FP32 = 2, 4
"""Bytes of a stored weight."""

PUBLISHED: dict[str, tuple[int, int, int, int, int, int]] = {
    "tiny.en": (384, 4, 4, ENGLISH, 80, FP32),
    "tiny": (384, 4, 4, MULTILINGUAL, 80, FP32),
    "base.en": (512, 6, 6, ENGLISH, 80, FP32),
    "base": (512, 6, 6, MULTILINGUAL, 80, FP32),
    "small.en": (768, 12, 12, ENGLISH, 80, FP32),
    "small": (768, 12, 12, MULTILINGUAL, 80, FP32),
    "medium.en": (1024, 24, 24, ENGLISH, 80, FP32),
    "medium": (1024, 24, 24, MULTILINGUAL, 80, FP32),
    "large-v1": (1280, 32, 32, MULTILINGUAL, 80, FP32),
    "large-v2": (1280, 32, 32, MULTILINGUAL, 80, FP32),
    "large-v3": (1280, 32, 32, WITH_CANTONESE, 128, FP16),
    "large-v3-turbo": (1280, 32, 4, WITH_CANTONESE, 128, FP16),
    "distil-small.en": (768, 12, 4, ENGLISH, 80, FP16),
    "distil-medium.en": (1024, 24, 2, ENGLISH, 80, FP16),
    "distil-large-v2": (1280, 32, 2, MULTILINGUAL, 80, FP16),
    "distil-large-v3": (1280, 32, 2, WITH_CANTONESE, 128, FP16),
    "distil-large-v3.5": (1280, 32, 2, WITH_CANTONESE, 128, FP32),
}
"""Width, encoder and decoder layers, vocabulary, mel bins (the config.json of each, as openai and
distil-whisper publish them on the Hub), and bytes of a weight in its model.safetensors. Feed-forward layers
are four times as wide, heads 64."""

NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
"""Bits of a weight in nf4 with double quantisation: itself, its block's scale in 8 bits, and the scale of 256
of those in 32 (Dettmers et al., 2023, section 3)."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """A checkpoint as far as it can be known before its weights are read.

    Attributes:
        config: Its sizes.
        sentence: Where that is known from, in one line.
        download_bytes: What would be downloaded; 0 where the weights are here, None where that is not known.
    """

    config: WhisperConfig
    sentence: str
    download_bytes: int | None


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer of a block; `rank` is that of its adapter, 0 without one.

    `keeps_input` tells whether the backward pass needs what it was given, and `learns` whether its own weight
    has a gradient.
    """

    name: str
    width_in: int
    width_out: int
    rank: int
    keeps_input: bool
    learns: bool


@dataclass(frozen=True)
class Blueprint:
    """A Whisper with its adapter: sizes, layers and counts.

    Attributes:
        config: Its sizes.
        layers: The linear layers of all blocks.
        linear_weights: Weights of those layers: what quantisation rounds.
        other_weights: Embeddings, convolutions, norms and biases, which stay in float.
        adapter_weights: What an adapter adds.
        trainable_weights: What learns.
    """

    config: WhisperConfig
    layers: tuple[Linear, ...]
    linear_weights: int
    other_weights: int
    adapter_weights: int
    trainable_weights: int

    @property
    def base_weights(self) -> int:
        """Weights without the adapter."""
        return self.linear_weights + self.other_weights

    def weight_bytes(self, *, quantize: str, float_bytes: int) -> int:
        """Return the bytes of the base as it is held in memory.

        Args:
            quantize: none, int8 or nf4.
            float_bytes: Of a weight that is not rounded.
        """
        rows = sum(layer.width_out for layer in self.layers)
        rounded: dict[str, float] = {
            "none": self.linear_weights * float_bytes,
            "int8": self.linear_weights + 4 * rows,
            "nf4": self.linear_weights * NF4_BITS / 8,
        }
        return int(rounded[quantize]) + self.other_weights * float_bytes

    @cached_property
    def encoder(self) -> tuple[Linear, ...]:
        """The layers of the encoder."""
        return tuple(layer for layer in self.layers if layer.name.startswith("model.encoder."))

    @cached_property
    def decoder(self) -> tuple[Linear, ...]:
        """The layers of the decoder."""
        return tuple(layer for layer in self.layers if layer.name.startswith("model.decoder."))

    @cached_property
    def blocks(self) -> dict[tuple[str, int], dict[str, Linear]]:
        """The layers of each block by their names in it; blocks by encoder or decoder, and their number."""
        blocks: dict[tuple[str, int], dict[str, Linear]] = {}
        for layer in self.layers:
            _, part, _, number, name = layer.name.split(".", 4)
            blocks.setdefault((part, int(number)), {})[name] = layer
        return blocks


def sketch(name: str) -> Sketch:
    """Return what is known of a checkpoint without reading its weights or asking the Hub.

    Args:
        name: What `model.name` takes.

    Raises:
        ModelError: If there is no such checkpoint, or its sizes cannot be known before it is downloaded.

    Example:
        >>> sketch("openai/whisper-large-v3").config.encoder_layers
        32
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return Sketch(_folder_config(path), f"{name}: the sizes in that folder", 0)
    if path.is_file():
        return Sketch(openai_config(path), f"{name}: the shapes in that file", 0)
    repo_id = repository_of(name)
    cached, size = cached_folder(repo_id), size_of(repo_id)
    if cached is not None:
        return Sketch(_folder_config(cached), f"{name}: the sizes in the Hub cache, {cached}", 0)
    if size not in PUBLISHED:
        raise ModelError(
            f"the sizes of {name} are not known",
            "it is no folder, is not in the Hub cache, and is no published size of Whisper",
            f"download it first, or name one of {', '.join(HUB_NAMES)}",
        )
    config = published_config(size)
    if installed_wheel(size) is not None:
        return Sketch(config, f"{name}: the published sizes; its weights are installed as packages", 0)
    download = PUBLISHED[size][-1] * blueprint(config, None).base_weights
    return Sketch(config, f"{name}: the published sizes", download)


def published_config(size: str) -> WhisperConfig:
    """Return the sizes of a published checkpoint.

    Example:
        >>> published_config("large-v3-turbo").decoder_layers
        4
    """
    width, encoder_layers, decoder_layers, vocab_size, num_mel_bins, _ = PUBLISHED[size]
    return WhisperConfig(
        vocab_size=vocab_size,
        num_mel_bins=num_mel_bins,
        d_model=width,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        encoder_attention_heads=width // 64,
        decoder_attention_heads=width // 64,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
    )


def blueprint(config: WhisperConfig, section: AdapterSection | None) -> Blueprint:
    """Return what a Whisper and its adapter are made of.

    Args:
        config: The sizes.
        section: What learns; None: nothing.

    Raises:
        AdapterError: If the section does not fit the model.

    Example:
        >>> blueprint(published_config("tiny.en"), AdapterSection(r=32)).trainable_weights
        2162688
    """
    with torch.device("meta"):
        core = WhisperForConditionalGeneration(copy.deepcopy(config)).requires_grad_(False)
        bare = [cast(nn.Linear, layer).weight.numel() for layer in _linear_layers(core).values()]
        linear, base = sum(bare), _count(core)
        model = core if section is None else _with_adapter(core, section)
    return Blueprint(
        config=config,
        layers=tuple(_describe(name, module) for name, module in _linear_layers(core).items()),
        linear_weights=linear,
        other_weights=base - linear,
        adapter_weights=_count(model) - base,
        trainable_weights=_count(model, lambda weight: weight.requires_grad),
    )


def _folder_config(folder: Path) -> WhisperConfig:
    files = weight_files([file.name for file in folder.iterdir()])
    if files == ["model.bin"] or not (folder / "config.json").is_file():
        return ctranslate2_config(folder)
    return WhisperConfig.from_pretrained(folder)


def _with_adapter(core: WhisperForConditionalGeneration, section: AdapterSection) -> nn.Module:
    if section.method == "full":
        core.requires_grad_(True)
        core.model.encoder.embed_positions.requires_grad_(False)
        return core
    config = copy.deepcopy(adapter_config(core, section))
    config.base_model_name_or_path = None  # this one has no name, and PEFT warns where names differ
    if isinstance(config, LoraConfig):
        config.init_lora_weights = True  # other starts are found from weights, and there are none
    try:
        with no_false_alarms_of_peft():
            return get_peft_model(core, config)
    except (ValueError, TypeError, NotImplementedError) as error:
        why = str(error)
        raise AdapterError(
            f"PEFT cannot attach this {type(config).__name__}", why, "change its fields"
        ) from None


def _linear_layers(core: WhisperForConditionalGeneration) -> dict[str, nn.Module]:
    """Return the linear layers of the blocks by their names, those that PEFT wrapped too."""
    inner: dict[str, nn.Module] = {}
    for name, module in core.model.named_modules():
        whole = f"model.{name}"
        if name.endswith(("_proj", "fc1", "fc2")):
            inner[whole] = module
    return inner


def _describe(name: str, module: nn.Module) -> Linear:
    base = cast(nn.Linear, module.get_base_layer() if isinstance(module, BaseTunerLayer) else module)
    ranks = [_rank(part) for part in module.lora_A.values()] if isinstance(module, LoraLayer) else []
    learns = base.weight.requires_grad
    return Linear(
        name, base.in_features, base.out_features, max(ranks, default=0), learns or base is not module, learns
    )


def _rank(part: nn.Module | nn.Parameter) -> int:
    """Return the rank of LoRA's first matrix: a layer of its own, or of AdaLoRA a bare weight."""
    weight = cast(Tensor, part.weight if isinstance(part, nn.Linear) else part)
    return int(weight.shape[0])


def _count(model: nn.Module, wanted: Callable[[nn.Parameter], bool] = lambda weight: True) -> int:
    return sum(weight.numel() for weight in model.parameters() if wanted(weight))
