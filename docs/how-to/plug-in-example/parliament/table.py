"""A tracker: the numbers of a run as a table that a spreadsheet opens."""

from __future__ import annotations

import csv
from pathlib import Path

from whisper_peft import Recipe
from whisper_peft.training.events import Event


class Table:
    """Writes a line for each step and each evaluation; a run that goes on adds to it."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.name, self.path = recipe.name, folder / "table.csv"

    def __call__(self, event: Event) -> None:
        """Write the loss or the WER of an event."""
        if event.kind in ("step", "evaluation"):
            with self.path.open("a", newline="", encoding="utf-8") as lines:
                row = [self.name, event.kind, event.step, event.row.get("loss"), event.row.get("wer")]
                csv.writer(lines).writerow(row)
