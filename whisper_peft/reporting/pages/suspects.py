"""Training rows to check, as the run's CSV lists them: what the page shows of them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from whisper_peft.reporting.pages.inspection_page import SUSPECTS_FILE

MOST_SHOWN = 20
"""Rows on the page, the gravest; the CSV has all."""


@dataclass(frozen=True, slots=True)
class SuspectRow:
    """A training row that stands out: its text, why, and what to do (drop or check)."""

    id: str
    text: str
    reasons: str
    action: str


def read_suspects(folder: Path) -> tuple[SuspectRow, ...]:
    """Read the rows of a run's CSV, the gravest first; none where there is no CSV, or it has other columns.

    Example:
        >>> read_suspects(Path("no-such-run"))
        ()
    """
    path = folder / SUSPECTS_FILE
    if not path.is_file():
        return ()
    table = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8", errors="replace")))
    if not {"id", "text", "reasons", "action"} <= set(table.fieldnames or ()):
        return ()
    return tuple(
        SuspectRow(row["id"] or "", row["text"] or "", row["reasons"] or "", row["action"] or "")
        for row in table
    )
