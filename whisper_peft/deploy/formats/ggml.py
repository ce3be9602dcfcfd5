"""whisper.cpp's GGML file: sizes, mel filters, vocabulary and weights, one after the other.

Little-endian throughout, as `whisper_model_load` in ggml-org/whisper.cpp's `src/whisper.cpp` reads it. Which
tensors are rounded follows its `convert-h5-to-ggml.py` and its `quantize`: biases, norms and positions stay
fp32, convolutions are fp16 unless the file is fp32, and matrices take the file's type. Where that converter
rounds fp32 tensors to fp16 first, they are written as they are.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import WhisperConfig, WhisperTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from whisper_peft.deploy.companion_faults import DIMENSIONS, MEL_FILTERS, TEXT_TOKENS
from whisper_peft.deploy.export_values import ExportFormat
from whisper_peft.deploy.runtimes import require
from whisper_peft.errors import ExportError, ModelError
from whisper_peft.model.checkpoints.foreign import complete_weights
from whisper_peft.model.checkpoints.openai_format import openai_name, rename_openai
from whisper_peft.model.checkpoints.vocabulary import WhisperVocabulary
from whisper_peft.model.loading import Whisper
from whisper_peft.model.log_mel import LogMel

GGML_FILE = "ggml-model.bin"
"""The name that whisper.cpp's own converters write."""

EXTRA = "ggml"

MAGIC = 0x67676D6C
"""The letters of ggml as one number."""

FILE_TYPES = {"f16": 1, "f32": 0, "q8_0": 2007, "q5_0": 2008, "q5_1": 2009}
"""`ggml_ftype`, plus 1000 times the version of the blocks where matrices are quantised."""

TENSOR_TYPES = {"f32": 0, "f16": 1, "q5_0": 6, "q5_1": 7, "q8_0": 8}
"""`ggml_type`."""

BLOCK = 32
"""Weights of a row that share a scale."""

SIZES = 11
"""Numbers of the header: tokens, then the sizes of encoder and decoder, mel bins, type of the file."""

HEADER_BYTES = 1 << 22
"""More than sizes, filters and vocabulary take: half a megabyte."""

_POSITIONS = re.compile(r".*\.embed_positions\.weight")
_CONVOLUTION = re.compile(r".*\.conv[12]\.(weight|bias)")


def write_ggml(whisper: Whisper, folder: Path, quantization: str) -> None:
    """Write `ggml-model.bin`, all that whisper.cpp needs.

    Raises:
        ExportError: If whisper.cpp has no room for this model's shape or vocabulary, or an extra is missing.
    """
    require("gguf", install=f"whisper-peft[{EXTRA}]")
    config = whisper.config
    _refuse_unfit(config, quantization)
    with (folder / GGML_FILE).open("wb") as file:
        file.write(struct.pack(f"<I{SIZES}i", MAGIC, *_sizes(config), FILE_TYPES[quantization]))
        filters = LogMel(config.num_mel_bins).filters.numpy()
        file.write(struct.pack("<2i", *filters.shape) + filters.astype("<f4").tobytes())
        _write_vocabulary(file, whisper.tokenizer)
        for name, weight in whisper.core.state_dict().items():
            if name != "proj_out.weight":  # whisper.cpp takes the embedding of the tokens
                _write_tensor(file, name, weight.detach().cpu().float(), quantization)


def _refuse_unfit(config: WhisperConfig, quantization: str) -> None:
    WhisperVocabulary(config.vocab_size)
    unfit = {
        "its output matrix is not its token embedding": not config.tie_word_embeddings,
        "encoder and decoder feed forward through other than four times the width": {
            config.encoder_ffn_dim,
            config.decoder_ffn_dim,
        }
        != {4 * config.d_model},
        f"its width of {config.d_model} is no multiple of {BLOCK}": quantization.startswith("q")
        and config.d_model % BLOCK != 0,
    }
    for why, is_so in unfit.items():
        if is_so:
            raise ExportError("the model does not fit whisper.cpp", why, "give --format huggingface or onnx")


def _sizes(config: WhisperConfig) -> tuple[int, ...]:
    mels, *sizes = (getattr(config, field) for field in DIMENSIONS.values())
    return (*sizes, mels)


def _write_vocabulary(file: BinaryIO, tokenizer: WhisperTokenizer) -> None:
    """Write the bytes of each token below end-of-text; whisper.cpp names the special ones itself."""
    byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}
    letters = {index: token for token, index in tokenizer.get_vocab().items()}
    end = int(tokenizer.eos_token_id)
    file.write(struct.pack("<i", end))
    for index in range(end):  # multilingual vocabularies have no token 50256
        content = bytes(byte_of[letter] for letter in letters.get(index, ""))
        file.write(struct.pack("<i", len(content)) + content)


def tensor_type(name: str, weight: Tensor, quantization: str) -> str:
    """Return how a tensor is kept in a file.

    Example:
        >>> tensor_type("model.encoder.conv1.weight", torch.empty(8, 80, 3), "q8_0")
        'f16'
        >>> tensor_type("model.encoder.layer_norm.bias", torch.empty(8), "q8_0")
        'f32'
    """
    if quantization == "f32" or weight.dim() == 1 or _POSITIONS.fullmatch(name):
        return "f32"
    return "f16" if weight.dim() == 3 else quantization


def keep_ggml(name: str, weight: Tensor, quantization: str) -> Tensor:
    """Return what reading a file back gives of one weight."""
    kind = tensor_type(name, weight, quantization)
    return _decode(_encode(weight, kind, name), kind, tuple(weight.shape))


def _write_tensor(file: BinaryIO, name: str, weight: Tensor, quantization: str) -> None:
    kind = tensor_type(name, weight, quantization)
    # whisper.cpp adds the bias of a convolution to a matrix of one column
    shape = (*weight.shape, 1) if _CONVOLUTION.fullmatch(name) and weight.dim() == 1 else weight.shape
    label = openai_name(name).encode()
    file.write(struct.pack("<3i", len(shape), len(label), TENSOR_TYPES[kind]))
    file.write(struct.pack(f"<{len(shape)}i", *reversed(shape)) + label)
    file.write(_encode(weight, kind, name))


def _encode(weight: Tensor, kind: str, name: str) -> bytes:
    values: NDArray[Any] = weight.float().numpy()
    if kind == "f32":
        return values.astype("<f4").tobytes()
    if np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
        raise ExportError(f"{name} reaches {np.abs(values).max():g}", "fp16 ends at 65504", "give f32")
    if kind == "f16":
        return values.astype("<f2").tobytes()
    return _blocks(kind)[0](values).tobytes()


def _decode(content: bytes, kind: str, shape: tuple[int, ...]) -> Tensor:
    if kind in ("f32", "f16"):
        values = np.frombuffer(content, "<f4" if kind == "f32" else "<f2")
    else:
        rows = np.frombuffer(content, np.uint8).reshape(*shape[:-1], -1)
        values = _blocks(kind)[1](rows)
    return torch.from_numpy(values.copy()).reshape(shape)


def _blocks(kind: str) -> tuple[Callable[[NDArray[Any]], NDArray[Any]], Callable[..., NDArray[Any]]]:
    """Return the functions that pack rows of fp32 into blocks and unpack them."""
    from gguf import GGMLQuantizationType, quants

    block = GGMLQuantizationType[kind.upper()]
    return lambda rows: quants.quantize(rows, block), lambda rows: quants.dequantize(rows, block)


def read_ggml(folder: Path) -> Mapping[str, Tensor]:
    """Read the weights of `ggml-model.bin`: fp32 and fp16 as they are, blocks multiplied out to fp32.

    Raises:
        ModelError: If the file is missing, damaged, or not a complete Whisper.
    """
    path = folder / GGML_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read", error.strerror or str(error), "export it again") from None
    try:
        heads, state = _read_model(_Cursor(content))
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is damaged", str(error), "export it again") from None
    return complete_weights(state, heads, path).state


def read_fields(folder: Path) -> Mapping[str, Any]:
    """Return what `ggml-model.bin` tells before the weights: sizes, mel filters and the vocabulary."""
    sizes, filters, tokens = _read_header(folder)
    texts = [token.decode(errors="replace") for token in tokens]
    return {"sizes": sizes, "mel filters": filters, "vocabulary": texts}


def read_companions(folder: Path) -> Mapping[str, Any]:
    """Return sizes, mel filters and vocabulary; its tokens have a letter for each byte, as in a tokenizer."""
    sizes, filters, texts = _read_header(folder)
    mels, *others = DIMENSIONS
    letters = bytes_to_unicode()
    tokens = {"".join(letters[byte] for byte in text): index for index, text in enumerate(texts) if text}
    return {
        **{f"{GGML_FILE}: {name}": size for name, size in zip((*others, mels), sizes, strict=False)},
        f"{GGML_FILE}: {MEL_FILTERS}": filters,
        f"{GGML_FILE}: {TEXT_TOKENS}": tokens,
    }


def _read_header(folder: Path) -> tuple[list[int], list[float], list[bytes]]:
    """Return sizes with the type of the file, mel filters row by row, and the bytes of each token."""
    with (folder / GGML_FILE).open("rb") as file:
        cursor = _Cursor(file.read(HEADER_BYTES))
    _, *sizes = cursor.numbers(1 + SIZES)
    mels, bins = cursor.numbers(2)
    filters = np.frombuffer(cursor.take(4 * mels * bins), "<f4")
    tokens = [cursor.take(cursor.numbers(1)[0]) for _ in range(cursor.numbers(1)[0])]
    return sizes, filters.tolist(), tokens


class _Cursor:
    """A place in the bytes of a file."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        if not 0 <= size <= len(self.content) - self.place:
            raise ValueError(f"it ends at byte {len(self.content)}, inside what begins at {self.place}")
        self.place += size
        return self.content[self.place - size : self.place]

    def numbers(self, count: int) -> tuple[int, ...]:
        """Return the next 32-bit integers."""
        return struct.unpack(f"<{count}i", self.take(4 * count))


def _read_model(cursor: _Cursor) -> tuple[tuple[int, int], dict[str, Tensor]]:
    magic, *sizes = cursor.numbers(1 + SIZES)
    if magic != MAGIC:
        raise ValueError(f"it begins with {magic:#x} instead of {MAGIC:#x}")
    mels, bins = cursor.numbers(2)
    cursor.take(4 * mels * bins)
    for _ in range(cursor.numbers(1)[0]):
        cursor.take(cursor.numbers(1)[0])
    state: dict[str, Tensor] = {}
    while cursor.place < len(cursor.content):
        name, weight = _read_tensor(cursor)
        state[name] = weight
    return (sizes[3], sizes[7]), state


def _read_tensor(cursor: _Cursor) -> tuple[str, Tensor]:
    rank, length, number = cursor.numbers(3)
    kind = {number: kind for kind, number in TENSOR_TYPES.items()}[number]
    shape = tuple(reversed(cursor.numbers(rank)))
    name = rename_openai(cursor.take(length).decode())
    weight = _decode(cursor.take(_size(kind, shape)), kind, shape)
    return name, weight.reshape(-1) if _CONVOLUTION.fullmatch(name) and rank == 2 else weight


def _size(kind: str, shape: tuple[int, ...]) -> int:
    if kind in ("f32", "f16"):
        return prod(shape) * (4 if kind == "f32" else 2)
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    weights, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind.upper()]]
    return prod(shape) // weights * size


FORMAT = ExportFormat(
    name="ggml",
    quantizations=tuple(FILE_TYPES),
    exact=("f16", "f32"),
    write=write_ggml,
    read=read_ggml,
    keep=keep_ggml,
    runtime="whisper_cpp",
    read_fields=read_fields,
    read_companions=read_companions,
)
