"""The file formats that a model is shipped in: a module each, which names itself in its `FORMAT`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping

from whisper_peft.deploy.export_values import ExportFormat


class _Formats(Mapping[str, ExportFormat]):
    """The modules of this package by name; each is imported when it is first asked for."""

    def __getitem__(self, name: str) -> ExportFormat:
        if name not in _names():
            raise KeyError(name)
        form: ExportFormat = importlib.import_module(f"{__name__}.{name}").FORMAT
        return form

    def __iter__(self) -> Iterator[str]:
        return iter(_names())

    def __len__(self) -> int:
        return len(_names())


def _names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


FORMATS: Mapping[str, ExportFormat] = _Formats()
"""Every format by its name, which is that of its module. Listing the names imports nothing."""
