"""`export.json`: what a folder was made from, and the SHA-256 of all that is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import Tensor

from whisper_peft.deploy.weights import sha256_of
from whisper_peft.errors import ExportError
from whisper_peft.training.checkpoints import file_digest

RECORD_FILE = "export.json"

LIBRARIES = ("whisper-peft", "torch", "transformers", "peft", "safetensors", "numpy")
"""Whose versions may change what is written."""


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """What `export.json` says of its folder.

    Attributes:
        format: Name of the format; `module:name` of a plug-in.
        quantization: What it was written in.
        source: The run, adapter folder or model that was exported.
        base: The model that an adapter was folded into; None where there was no adapter.
        versions: Of the libraries that wrote it.
        tensors: SHA-256 of each tensor's type, shape and bytes, as it is read back from the file.
        files: SHA-256 of each file by its path in the folder, but for this one.
        refused: Why the export was set aside; None for one that was accepted.
    """

    format: str
    quantization: str
    source: str
    base: str | None
    versions: Mapping[str, str]
    tensors: Mapping[str, str]
    files: Mapping[str, str]
    refused: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that write exports."""
    return {name: metadata.version(name) for name in LIBRARIES}


def tensor_digests(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the SHA-256 of each tensor."""
    return {name: sha256_of(weights[name]) for name in sorted(weights)}


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file by its path in the folder, without the record itself."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: file_digest(path) for name, path in names.items() if name != RECORD_FILE}


def write_record(record: ExportRecord, folder: Path) -> None:
    """Write `export.json` into the folder that it describes."""
    text = json.dumps(record.to_dict(), indent=2, ensure_ascii=False) + "\n"
    (folder / RECORD_FILE).write_text(text, encoding="utf-8")


def read_record(folder: Path) -> ExportRecord | None:
    """Return what `export.json` says; None where there is none.

    Raises:
        ExportError: If it is damaged.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        return None
    try:
        return ExportRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ExportError(
            f"{path} is damaged", str(error), "verify the folder --against what it was made from"
        ) from None
