"""Reads OpenAI's own `.pt` checkpoints: a dictionary of `dims` and `model_state_dict`."""

from __future__ import annotations

import base64
import gzip
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import WhisperConfig

from whisper_peft.errors import ModelError
from whisper_peft.model.checkpoints.foreign import ForeignWeights, complete_weights

LAYERS = {
    "token_embedding": "embed_tokens",
    "ln_post": "layer_norm",
    "ln": "layer_norm",
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "cross_attn.query": "encoder_attn.q_proj",
    "cross_attn.key": "encoder_attn.k_proj",
    "cross_attn.value": "encoder_attn.v_proj",
    "cross_attn.out": "encoder_attn.out_proj",
    "cross_attn_ln": "encoder_attn_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
}
"""OpenAI's names of layers (openai/whisper, `model.py`) and Hugging Face's."""

OPENAI_LAYERS = {ours: openai for openai, ours in LAYERS.items()}
"""The other way round; the last normalisation has two names there, by its part."""

HEADS = {"n_audio_head", "n_text_head"}
"""The dimensions that the shapes of the tensors do not tell."""


def read_openai(path: Path) -> ForeignWeights:
    """Read an OpenAI `.pt` file, tensor by tensor as it lies there; nothing in it is executed.

    Raises:
        ModelError: If the file is damaged, holds more than tensors, or is not a Whisper.
    """
    return _to_whisper(_load_tensors(path, "cpu"), path)


def openai_config(path: Path) -> WhisperConfig:
    """Return the configuration that the shapes in a `.pt` file imply; the weights themselves are not read.

    Raises:
        ModelError: If the file is damaged, holds more than tensors, or is not a Whisper.
    """
    return _to_whisper(_load_tensors(path, "meta"), path).config


def _to_whisper(checkpoint: dict[str, Any], path: Path) -> ForeignWeights:
    dims, tensors = checkpoint.get("dims"), checkpoint.get("model_state_dict")
    if not (isinstance(dims, dict) and dims.keys() >= HEADS and isinstance(tensors, dict)):
        raise ModelError(
            f"{path} is not an OpenAI Whisper checkpoint",
            "it lacks dims or model_state_dict",
            "give a .pt file in OpenAI's layout, or a folder in Hugging Face format",
        )
    state = {rename_openai(name): tensor for name, tensor in tensors.items()}
    return complete_weights(state, (dims["n_audio_head"], dims["n_text_head"]), path)


def rename_openai(name: str) -> str:
    """Return Hugging Face's name of one of OpenAI's tensors.

    Example:
        >>> rename_openai("decoder.blocks.3.cross_attn.query.weight")
        'model.decoder.layers.3.encoder_attn.q_proj.weight'
    """
    if name.endswith(".positional_embedding"):
        return f"model.{name.removesuffix('.positional_embedding')}.embed_positions.weight"
    match = re.fullmatch(r"(encoder|decoder)\.(blocks\.\d+\.)?(.+)\.(weight|bias)", name)
    if match is None:
        return name
    part, block, layer, kind = match.groups(default="")
    return f"model.{part}.{block.replace('blocks', 'layers')}{LAYERS.get(layer, layer)}.{kind}"


def openai_name(name: str) -> str:
    """Return OpenAI's name of one of Hugging Face's tensors: the inverse of `rename_openai`.

    Example:
        >>> openai_name("model.decoder.layers.3.encoder_attn.q_proj.weight")
        'decoder.blocks.3.cross_attn.query.weight'
    """
    match = re.fullmatch(r"model\.(encoder|decoder)\.(layers\.\d+\.)?(.+)\.(weight|bias)", name)
    if match is None:
        return name
    part, block, layer, kind = match.groups(default="")
    if layer == "embed_positions":
        return f"{part}.positional_embedding"
    if layer == "layer_norm":
        return f"{part}.{'ln_post' if part == 'encoder' else 'ln'}.{kind}"
    return f"{part}.{block.replace('layers', 'blocks')}{OPENAI_LAYERS.get(layer, layer)}.{kind}"


def dump_alignment_heads(heads: list[tuple[int, ...]], layers: int, per_layer: int) -> str:
    """Return alignment heads as openai-whisper's `set_alignment_heads` takes them.

    That is base 85 of the gzipped table of a byte for each layer and head.

    Example:
        >>> table = gzip.decompress(base64.b85decode(dump_alignment_heads([(1, 0)], 2, 3)))
        >>> list(table)
        [0, 0, 0, 1, 0, 0]
    """
    table = bytearray(layers * per_layer)
    for layer, head in heads:
        table[layer * per_layer + head] = 1
    return base64.b85encode(gzip.compress(bytes(table), mtime=0)).decode("ascii")


def openai_alignment_heads(path: Path) -> list[list[int]] | None:
    """Return the alignment heads that our own `.pt` files carry beside OpenAI's; None for other files.

    Raises:
        ModelError: If the file or the heads are damaged.
    """
    checkpoint = _load_tensors(path, "meta")
    dump = checkpoint.get("alignment_heads")
    if dump is None:
        return None
    try:
        table = gzip.decompress(base64.b85decode(dump))
        per_layer = int(checkpoint["dims"]["n_text_head"])
    except (ValueError, TypeError, KeyError, OSError, EOFError) as error:
        raise ModelError(
            f"the alignment heads in {path} are damaged", str(error), "export or copy it again"
        ) from None
    return [list(divmod(place, per_layer)) for place, is_one in enumerate(table) if is_one]


def _load_tensors(path: Path, device: str) -> dict[str, Any]:
    try:
        checkpoint: dict[str, Any] | Tensor = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is not safe to load or not a checkpoint",
            str(error).splitlines()[0],
            "only files of plain tensors are read; download it again from its source",
        ) from None
    except (RuntimeError, EOFError, OSError, KeyError) as error:
        raise ModelError(
            f"{path} cannot be read",
            (str(error) or type(error).__name__).splitlines()[0],
            "is it complete? Download it again",
        ) from None
    return checkpoint if isinstance(checkpoint, dict) else {}
