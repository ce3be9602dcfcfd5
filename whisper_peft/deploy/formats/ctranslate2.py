"""CTranslate2's folder, for faster-whisper and WhisperX; written without CTranslate2.

The layout of `model.bin` is told in `whisper_peft.model.checkpoints.ctranslate2_format`, which reads it.
Variables lie in the order of their names, as CTranslate2's own converter leaves them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import WhisperConfig

from whisper_peft.deploy.companion_faults import (
    FEATURES,
    LANGUAGE_IDS,
    TOKENS,
    json_fields,
    tokenizer_fields,
)
from whisper_peft.deploy.export_values import ExportFormat
from whisper_peft.deploy.weights import TIED, keep_cast, source_weights
from whisper_peft.errors import ExportError
from whisper_peft.model.checkpoints.ctranslate2_format import (
    DTYPES,
    FUSED,
    MODEL_FILE,
    UNFUSED,
    ctranslate2_settings,
    read_ctranslate2,
)
from whisper_peft.model.checkpoints.generation_defaults import CTRANSLATE2_FIELDS
from whisper_peft.model.loading import Whisper

BINARY_VERSION, REVISION = 6, 3
"""Of the layout, and of `WhisperSpec`."""

GELU = 3
"""In the order of CTranslate2's `Activation`."""

BIASLESS = "k_proj"
"""The projection that has no bias in Whisper; where it is stacked with others its bias is zero."""


def write_ctranslate2(whisper: Whisper, folder: Path, quantization: str) -> None:
    """Write `model.bin`, `config.json`, `vocabulary.json`, `tokenizer.json` and `preprocessor_config.json`.

    Raises:
        ExportError: If a weight is beyond fp16, or the tokenizer does not name every token.
    """
    tokens = _vocabulary(whisper)
    variables = _variables(source_weights(whisper), whisper.config)
    with (folder / MODEL_FILE).open("wb") as file:
        stored = dict(sorted(_stored(variables, quantization)))
        file.write(struct.pack("<I", BINARY_VERSION) + _string("WhisperSpec"))
        file.write(struct.pack("<II", REVISION, len(stored)))
        for name, value in stored.items():
            _write_variable(file, name, value)
        tied = bool(whisper.config.tie_word_embeddings)
        file.write(struct.pack("<I", int(tied)))
        if tied:
            file.write(_string("decoder/projection/weight") + _string("decoder/embeddings/weight"))
    _write_json(folder / "config.json", _settings(whisper), "\n")
    _write_json(folder / "vocabulary.json", tokens, "")
    (folder / "tokenizer.json").write_text(whisper.tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    whisper.companions.feature_extractor.save_pretrained(folder)


def _vocabulary(whisper: Whisper) -> list[str]:
    known = whisper.tokenizer.get_vocab()
    tokens = sorted(known, key=lambda token: known[token])
    if len(tokens) != whisper.config.vocab_size:
        raise ExportError(
            f"the tokenizer names {len(tokens)} tokens and the model has {whisper.config.vocab_size}",
            "CTranslate2 needs a name for each",
            "give a checkpoint whose tokenizer is complete",
        )
    return tokens


def _settings(whisper: Whisper) -> dict[str, Any]:
    """Return what CTranslate2 reads beside the weights; an English-only model detects no language."""
    fields = whisper.generation_config.to_dict()
    return {
        "alignment_heads": fields["alignment_heads"],
        "lang_ids": sorted(fields["lang_to_id"].values()) if whisper.is_multilingual else [],
        "suppress_ids": fields["suppress_tokens"],
        "suppress_ids_begin": fields["begin_suppress_tokens"],
    }


def _write_json(path: Path, content: object, end: str) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + end, encoding="utf-8")


def _variables(weights: Mapping[str, Tensor], config: WhisperConfig) -> Iterator[tuple[str, Tensor]]:
    """Yield CTranslate2's variables: attention projections stacked, and the settings of the layers."""
    yield from _decoder_settings()
    yield "decoder/embeddings/weight", weights["model.decoder.embed_tokens.weight"]
    if TIED in weights:
        yield "decoder/projection/weight", weights[TIED]
    heads = {"encoder": config.encoder_attention_heads, "decoder": config.decoder_attention_heads}
    layers = {"encoder": config.encoder_layers, "decoder": config.decoder_layers}
    for part in ("encoder", "decoder"):
        yield f"{part}/num_heads", torch.tensor(heads[part], dtype=torch.int16)
        yield f"{part}/position_encodings/encodings", weights[f"model.{part}.embed_positions.weight"]
        yield from _norm(f"{part}/layer_norm", weights, f"model.{part}.layer_norm")
        for number in range(layers[part]):
            yield from _layer(f"{part}/layer_{number}", weights, f"model.{part}.layers.{number}")
    for convolution in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            yield f"encoder/{convolution}/{kind}", weights[f"model.encoder.{convolution}.{kind}"]


def _decoder_settings() -> Iterator[tuple[str, Tensor]]:
    bytes_ = {"activation": GELU, "pre_norm": 1, "alibi": 0, "alibi_use_positive_positions": 0}
    bytes_ |= {"scale_alibi": 0, "scale_embeddings": 0, "start_from_zero_embedding": 0}
    for name, value in bytes_.items():
        yield f"decoder/{name}", torch.tensor(value, dtype=torch.int8)
    for name, value in {"alignment_heads": 1, "alignment_layer": -1}.items():
        yield f"decoder/{name}", torch.tensor(value, dtype=torch.int16)


def _layer(scope: str, weights: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    for (block, linear), (attention, projections) in FUSED.items():
        names = [f"{prefix}.{attention}.{projection}" for projection in projections]
        if f"{names[0]}.weight" not in weights:  # the encoder attends to nothing but itself
            continue
        yield f"{scope}/{block}/{linear}/weight", torch.cat([weights[f"{name}.weight"] for name in names])
        biases = [_bias(weights, name) for name in names]
        yield f"{scope}/{block}/{linear}/bias", torch.cat(biases)
        if linear == "linear_0":
            yield from _norm(f"{scope}/{block}/layer_norm", weights, f"{prefix}.{attention}_layer_norm")
    yield from _norm(f"{scope}/ffn/layer_norm", weights, f"{prefix}.{UNFUSED['ffn', 'layer_norm']}")
    for linear in ("linear_0", "linear_1"):
        for kind in ("weight", "bias"):
            yield f"{scope}/ffn/{linear}/{kind}", weights[f"{prefix}.{UNFUSED['ffn', linear]}.{kind}"]


def _bias(weights: Mapping[str, Tensor], name: str) -> Tensor:
    if name.endswith(BIASLESS):
        return torch.zeros(weights[f"{name}.weight"].shape[0])
    return weights[f"{name}.bias"]


def _norm(scope: str, weights: Mapping[str, Tensor], name: str) -> Iterator[tuple[str, Tensor]]:
    yield f"{scope}/gamma", weights[f"{name}.weight"]
    yield f"{scope}/beta", weights[f"{name}.bias"]


def _stored(variables: Iterator[tuple[str, Tensor]], quantization: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in variables:
        if not value.is_floating_point():
            yield name, value
        elif quantization.startswith("int8") and _is_matrix(name, value):
            rounded, scale = quantize_rows(value)
            yield name, rounded
            yield f"{name}_scale", scale
        else:
            yield name, keep_cast(name, value, _float_of(quantization))


def _is_matrix(name: str, value: Tensor) -> bool:
    """Tell whether CTranslate2 quantises a tensor: matrices and convolutions, not positions."""
    return value.dim() > 1 and "position" not in name


def _float_of(quantization: str) -> str:
    return "float16" if quantization.endswith("float16") else "float32"


def quantize_rows(value: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix or convolution in int8, and the factor of each row that it was multiplied by.

    The largest sum of two neighbours' sizes (inputs 0 and 1, 2 and 3, ...) becomes 127. CTranslate2's own
    converter lets the largest value become 127 (`model_spec.py`), which x86 without VNNI cannot add up: it
    multiplies a pair of weights by two activations of up to 255, and adds both in 16 bits, where more than
    32767 is cut off (`vpmaddubsw`). 255 times 128, a sum of 127 and what rounding adds, still fits.

    Example:
        >>> rounded, scale = quantize_rows(torch.tensor([[1.0, -2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
        >>> rounded[0].tolist(), rounded[1].tolist(), scale[1].item()
        ([42, -85, 85, 0], [0, 0, 0, 0], 1.0)
    """
    rows: NDArray[np.float32] = value.float().numpy().reshape(len(value), -1)
    sizes = np.pad(np.abs(rows), ((0, 0), (0, rows.shape[1] % 2)))
    most = sizes.reshape(len(rows), -1, 2).sum(axis=2).max(axis=1)
    most[most == 0] = 127.0
    # the factor of a row of tiny values has to stay a number
    most = np.maximum(most, np.float32(127) / np.finfo(np.float32).max)
    scale = np.float32(127.0) / most
    rounded = np.rint(rows * scale[:, None]).astype(np.int8)
    return torch.from_numpy(rounded).reshape(value.shape), torch.from_numpy(scale)


def keep_ctranslate2(name: str, weight: Tensor, quantization: str) -> Tensor:
    """Return what reading a folder back gives of one weight."""
    if quantization.startswith("int8") and _is_matrix(name, weight):
        rounded, scale = quantize_rows(weight)
        return rounded.float() / scale.reshape(-1, *[1] * (weight.dim() - 1))
    return keep_cast(name, weight, _float_of(quantization))


def _write_variable(file: BinaryIO, name: str, value: Tensor) -> None:
    shape = struct.pack(f"<B{value.dim()}I", value.dim(), *value.shape)
    kind = struct.pack("<BI", DTYPES.index(value.dtype), value.numel() * value.element_size())
    file.write(_string(name) + shape + kind)
    file.write(value.contiguous().numpy().tobytes())


def _string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def read_ctranslate2_folder(folder: Path) -> Mapping[str, Tensor]:
    """Read the weights as they are stored; int8 is multiplied out to fp32.

    Raises:
        ModelError: If `model.bin` is missing, truncated, damaged, or not a Whisper.
    """
    return read_ctranslate2(folder).state


def read_companions(folder: Path) -> Mapping[str, Any]:
    """Return what the files beside the weights tell, and the numbers of heads that `model.bin` holds."""
    theirs = {ours: theirs for theirs, ours in CTRANSLATE2_FIELDS.items()}
    vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    layers = ctranslate2_settings(folder)
    return {
        **json_fields(folder / "config.json", [*theirs, LANGUAGE_IDS], renamed=theirs),
        **json_fields(folder / "preprocessor_config.json", FEATURES),
        **tokenizer_fields(folder / "tokenizer.json"),
        f"vocabulary.json: {TOKENS}": {token: index for index, token in enumerate(vocabulary)},
        f"{MODEL_FILE}: n_audio_head": layers["encoder/num_heads"],
        f"{MODEL_FILE}: n_text_head": layers["decoder/num_heads"],
    }


FORMAT = ExportFormat(
    name="ctranslate2",
    quantizations=("float16", "float32", "int8", "int8_float16"),
    exact=("float16", "float32"),
    write=write_ctranslate2,
    read=read_ctranslate2_folder,
    keep=keep_ctranslate2,
    runtime="faster_whisper",
    read_fields=ctranslate2_settings,
    read_companions=read_companions,
)
