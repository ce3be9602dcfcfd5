"""Checkpoint in, torch model out: read, quantised, placed and made ready to hear any context length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import torch
from bitsandbytes.nn.modules import Linear4bit
from safetensors import SafetensorError
from torch import Tensor
from transformers import BitsAndBytesConfig, WhisperConfig, WhisperForConditionalGeneration

from whisper_peft.errors import ModelError
from whisper_peft.model.audio_context import enable_variable_context
from whisper_peft.model.checkpoints.ctranslate2_format import read_ctranslate2
from whisper_peft.model.checkpoints.finding import Checkpoint
from whisper_peft.model.checkpoints.openai_format import read_openai
from whisper_peft.model.library_noise import no_loading_bar
from whisper_peft.model.precision import Precision

Quantization: TypeAlias = Literal["none", "int8", "nf4"]

KEPT_IN_FLOAT = ["proj_out"]
"""Linear layers that are never quantised: the output projection is tied to the token embedding."""

DROPOUTS = ("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop")
"""Zero in every published Whisper, and drawn from the global generator: off, so that runs repeat."""


def read_weights(
    checkpoint: Checkpoint, precision: Precision, *, quantize: Quantization, device: torch.device
) -> WhisperForConditionalGeneration:
    """Return the model in evaluation mode, with every weight frozen and any audio context allowed.

    Weights are read at once into `precision.weights_dtype` on the device; nothing is written to disk.

    Raises:
        ModelError: If the weights are missing, damaged, or of another shape than their configuration says.
    """
    path, config, state = _source(checkpoint)
    for dropout in DROPOUTS:
        setattr(config, dropout, 0.0)
    config.apply_spec_augment = False
    try:
        with no_loading_bar():
            loaded: Any = WhisperForConditionalGeneration.from_pretrained(
                path,
                config=config,
                state_dict=state,
                dtype=precision.weights_dtype,
                attn_implementation="sdpa",
                quantization_config=_quantization_config(quantize, precision),
                device_map={"": device},
                output_loading_info=True,
            )
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"the weights of {checkpoint.name} cannot be read",
            str(error).splitlines()[0],
            "download or copy the model again",
        ) from error
    model: WhisperForConditionalGeneration = loaded[0]
    _refuse_incomplete(checkpoint, loaded[1])
    _round_values(model, precision)
    _keep_trainable(model)
    model.requires_grad_(False)
    enable_variable_context(model)
    return model


def _source(checkpoint: Checkpoint) -> tuple[str | None, WhisperConfig, dict[str, Tensor] | None]:
    """Return the folder that transformers reads itself, or the state of another format; and the config."""
    if checkpoint.kind == "huggingface":
        return str(checkpoint.path), WhisperConfig.from_pretrained(checkpoint.path), None
    read = read_ctranslate2 if checkpoint.kind == "ctranslate2" else read_openai
    weights = read(checkpoint.path)
    return None, weights.config, weights.state


def _quantization_config(quantize: Quantization, precision: Precision) -> BitsAndBytesConfig | None:
    if quantize == "none":
        return None
    if quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=KEPT_IN_FLOAT)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=precision.compute_dtype,
        llm_int8_skip_modules=KEPT_IN_FLOAT,
    )


def _refuse_incomplete(checkpoint: Checkpoint, problems: Mapping[str, set[Any]]) -> None:
    kinds = {"missing_keys": "missing", "unexpected_keys": "unknown", "mismatched_keys": "of another shape"}
    said = []
    for kind, words in kinds.items():
        names = sorted(str(name) for name in problems[kind])
        if names:
            said.append(f"{len(names)} {words}, such as {names[0]}")
    if said:
        raise ModelError(
            f"the weights of {checkpoint.name} do not fit its config.json",
            "; ".join(said),
            "download or convert the model again",
        )


def _round_values(model: WhisperForConditionalGeneration, precision: Precision) -> None:
    if precision.values_dtype == precision.weights_dtype:
        return
    for weight in model.parameters():
        if weight.dtype == precision.weights_dtype:
            weight.data.copy_(weight.data.to(precision.values_dtype))


def _keep_trainable(model: WhisperForConditionalGeneration) -> None:
    """Keep bitsandbytes from repacking nf4 weights on CPUs with AVX512-BF16.

    Its first forward pass in evaluation mode would reorder them for good and round their scales to bf16:
    training after an evaluation then stops with a RuntimeError, and `state_dict` changes the weights
    (bitsandbytes 0.50.2).
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
