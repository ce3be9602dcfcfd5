"""The weights of an export: in the model, as a format keeps them, and as they are found in a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from whisper_peft.deploy.export_values import ExportFormat
from whisper_peft.errors import ExportError
from whisper_peft.model.loading import Whisper

TIED = "proj_out.weight"
"""The output projection, which is the token embedding itself in every published Whisper."""

FLOATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""Quantisations that cast every weight, by name."""


@dataclass(frozen=True, slots=True)
class WeightFault:
    """A weight that is not what it should be.

    Attributes:
        name: Hugging Face's name of the tensor.
        what: What is wrong with it.
    """

    name: str
    what: str


def source_weights(whisper: Whisper) -> dict[str, Tensor]:
    """Return every weight of a model without adapter, under Hugging Face's names, in fp32 on the CPU.

    The output projection is left out where it is the token embedding.
    """
    state: dict[str, Tensor] = whisper.core.state_dict()
    tied = whisper.config.tie_word_embeddings
    return {
        name: weight.detach().float().cpu() for name, weight in state.items() if not (tied and name == TIED)
    }


def keep_cast(name: str, weight: Tensor, quantization: str) -> Tensor:
    """Return a weight in the dtype of a float quantisation: the `keep` of formats that round nothing else.

    Raises:
        ExportError: If a value is beyond the range of the dtype.

    Example:
        >>> keep_cast("a.bias", torch.tensor([1.0]), "float16").dtype
        torch.float16
    """
    cast = weight.to(FLOATS[quantization])
    if not bool(torch.isfinite(cast).all()):
        raise ExportError(
            f"{name} reaches {float(weight.abs().max()):g}",
            f"that is beyond {quantization}, or not a number",
            "export in float32 or bfloat16",
        )
    return cast


def save_tensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file that others may read too, as transformers and PEFT expect it."""
    tensors = {name: state[name].contiguous() for name in sorted(state)}
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes it for its owner alone, and a server is somebody else


def read_back(form: ExportFormat, folder: Path, *, tied: bool) -> dict[str, Tensor]:
    """Return the weights of a folder as it lies on disk."""
    assert form.read is not None
    weights = form.read(folder)
    return {name: weight for name, weight in weights.items() if not (tied and name == TIED)}


def sha256_of(weight: Tensor) -> str:
    """Return the SHA-256 of a tensor's type, shape and bytes.

    Example:
        >>> a, b = torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 2.0]])
        >>> sha256_of(a) == sha256_of(a.clone()), sha256_of(a) == sha256_of(b)
        (True, False)
    """
    digest = hashlib.sha256(f"{weight.dtype} {tuple(weight.shape)}\n".encode())
    digest.update(weight.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def weight_faults(
    source: Mapping[str, Tensor], found: Mapping[str, Tensor], form: ExportFormat, quantization: str
) -> Iterator[WeightFault]:
    """Yield every tensor of a folder that is not what the format keeps of the source's, to the bit.

    Args:
        source: fp32 weights of the model.
        found: What was read back.
        form: Whose `keep` says what belongs there.
        quantization: What the folder was written in.
    """
    assert form.keep is not None
    for name in sorted(source.keys() - found.keys()):
        yield WeightFault(name, "is missing")
    for name in sorted(found.keys() - source.keys()):
        yield WeightFault(name, "is not a weight of the model")
    kept: dict[str, str] = {}
    wrong = []
    for name in sorted(source.keys() & found.keys()):
        expected = form.keep(name, source[name], quantization)
        if not _same_bits(expected, found[name]):
            wrong.append((name, expected))
            kept[sha256_of(expected)] = name
    for name, expected in wrong:
        yield WeightFault(name, _difference(expected, found[name], kept.get(sha256_of(found[name]))))


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(_bits(a), _bits(b))


def _bits(weight: Tensor) -> Tensor:
    return weight.contiguous().view({4: torch.int32, 2: torch.int16, 1: torch.uint8}[weight.element_size()])


def _difference(expected: Tensor, found: Tensor, other: str | None) -> str:
    if expected.shape != found.shape:
        return f"has shape {tuple(found.shape)} instead of {tuple(expected.shape)}"
    if expected.dtype != found.dtype:
        return f"is in {str(found.dtype)[6:]} instead of {str(expected.dtype)[6:]}"
    if other is not None:
        return f"holds what belongs to {other}"
    differing = _bits(expected) != _bits(found)
    count, place = int(differing.sum()), [int(index) for index in differing.nonzero()[0]]
    most = float((expected.float() - found.float()).abs().max())
    return f"differs in {count:,} of {found.numel():,} values, first at {place}, by up to {most:.3g}"
