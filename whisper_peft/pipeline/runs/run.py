"""A run as its caller gets it: the folder, the report, the summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whisper_peft.reporting.console.summary import summary


@dataclass(frozen=True)
class Run:
    """A run that has ended, or was stopped.

    Attributes:
        folder: The run folder.
        report: The content of its `report.json`.
    """

    folder: Path
    report: Mapping[str, Any] = field(repr=False)

    def summary(self) -> str:
        """Return the few lines that matter: error rates before and after, cost, merge, folder."""
        return summary(self.report)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return {"folder": str(self.folder), "report": dict(self.report)}

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C or SIGTERM ended it; `--resume` goes on."""
        return (self.report.get("train") or {}).get("stopped_by") == "interrupt"
