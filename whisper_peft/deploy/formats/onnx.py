"""ONNX: log-mel spectrogram, encoder and decoder with past, and every companion file beside them.

Inputs and outputs have the names of optimum's files. Two things differ from those: keys and values of what
was heard come from the encoder, so that the decoder's weights lie in one file, for the first token and for
all others; and the spectrogram is a graph too, so that onnxruntime and a tokenizer are all that is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from whisper_peft.deploy.export_values import ExportFormat
from whisper_peft.deploy.formats.huggingface import read_companions
from whisper_peft.deploy.runtimes import require
from whisper_peft.errors import ModelError
from whisper_peft.model.checkpoints.companions import save_companions
from whisper_peft.model.checkpoints.foreign import complete_weights
from whisper_peft.model.loading import Whisper

if TYPE_CHECKING:
    from onnx import ModelProto

LOG_MEL_FILE = "log_mel_model.onnx"
ENCODER_FILE = "encoder_model.onnx"
DECODER_FILE = "decoder_with_past_model.onnx"

EXTRA = "onnx"

MOST_BYTES_INSIDE = 1 << 30
"""Weights of a larger model lie in a file beside it: protobuf ends at 2 GiB."""


def write_onnx(whisper: Whisper, folder: Path, quantization: str) -> None:
    """Write the three graphs with configuration, tokenizer and generation config.

    Raises:
        ExportError: If the extra is missing.
    """
    require("onnx", install=f"whisper-peft[{EXTRA}]")
    from whisper_peft.deploy.onnx_graphs import decoder_graph, encoder_graph, log_mel_graph

    config, quantized = whisper.config, quantization == "int8"
    weights = {
        name: weight.detach().cpu().float().numpy() for name, weight in whisper.core.state_dict().items()
    }
    _save(log_mel_graph(config.num_mel_bins), folder / LOG_MEL_FILE)
    _save(encoder_graph(config, weights, quantized=quantized), folder / ENCODER_FILE)
    _save(decoder_graph(config, weights, quantized=quantized), folder / DECODER_FILE)
    config.save_pretrained(folder)
    save_companions(whisper.companions, folder)


def _save(model: ModelProto, path: Path) -> None:
    import onnx

    inside = sum(len(weight.raw_data) for weight in model.graph.initializer) <= MOST_BYTES_INSIDE
    onnx.save_model(
        model, path, save_as_external_data=not inside, location=None if inside else f"{path.name}_data"
    )


def keep_onnx(name: str, weight: Tensor, quantization: str) -> Tensor:
    """Return what reading a folder back gives of one weight."""
    if quantization == "float32" or weight.dim() != 2 or name.endswith("embed_positions.weight"):
        return weight.float()
    from whisper_peft.deploy.onnx_graphs import dequantize_rows, quantize_rows

    return torch.from_numpy(dequantize_rows(*quantize_rows(weight.float().numpy())))


def read_onnx(folder: Path) -> Mapping[str, Tensor]:
    """Read the weights of encoder and decoder back: fp32 as they are, 8 bits multiplied out.

    Raises:
        ModelError: If a file is missing, damaged, or not a complete Whisper.
    """
    require("onnx", install=f"whisper-peft[{EXTRA}]")
    state: dict[str, Tensor] = {}
    for file in (ENCODER_FILE, DECODER_FILE):
        state |= _read_weights(folder / file)
    return complete_weights(state, None, folder / ENCODER_FILE).state


def _read_weights(path: Path) -> Iterator[tuple[str, Tensor]]:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    from whisper_peft.deploy.onnx_graphs import SCALE, TRANSPOSED, dequantize_rows

    try:
        arrays = {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
    except (OSError, DecodeError, ValueError) as error:
        raise ModelError(f"{path} cannot be read", str(error), "export it again") from None
    for name, values in arrays.items():
        weight = name.removesuffix(TRANSPOSED)
        if not weight.endswith((".weight", ".bias")):
            continue  # a constant of the graph, or the scale of a weight
        rows = values.T if weight != name else values
        if values.dtype == np.uint8:
            rows = dequantize_rows(rows, arrays[weight + SCALE])
        yield weight, torch.from_numpy(np.ascontiguousarray(rows).copy())


FORMAT = ExportFormat(
    name="onnx",
    quantizations=("float32", "int8"),
    exact=("float32",),
    write=write_onnx,
    read=read_onnx,
    keep=keep_onnx,
    runtime="onnxruntime",
    read_companions=read_companions,
)
