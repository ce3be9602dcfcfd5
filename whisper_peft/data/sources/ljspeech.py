"""LJSpeech: `metadata.csv` with lines such as `LJ001-0001|In 1945.|In nineteen forty-five.`, and `wavs/`.

The second cell is taken, which is written as people write; `data.text_column normalized_text` takes the
third, in which numbers and abbreviations are spelled out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from whisper_peft.data.effects.recordings import is_recording
from whisper_peft.data.sources.local_corpora import LocalCorpus, leaves_folder, text_lines
from whisper_peft.errors import DataError, did_you_mean
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance

_COLUMNS = ("id", "text", "normalized_text")


def metadata_of(path: Path) -> Path | None:
    """Return the table of the folder that a path is, or that it lies in; None where it is not LJSpeech's.

    Example:
        >>> metadata_of(Path("no-such-folder"))
    """
    table = path / "metadata.csv" if path.is_dir() else path
    if table.name != "metadata.csv" or not (table.parent / "wavs").is_dir() or not table.is_file():
        return None
    return table if "|" in next(text_lines(table), "") else None


def open_ljspeech(table: Path, section: DataSection, *, name: str) -> LocalCorpus:
    """Find the cell that holds the text.

    Raises:
        DataError: If the table has no such cell.
    """
    cells = next(text_lines(table), "").count("|") + 1
    known = _COLUMNS[1:cells]
    if section.text_column not in known:
        why = f"{table} has no such cell"
        raise DataError(
            f"data.text_column is {section.text_column!r}", why, did_you_mean(section.text_column, known)
        )
    return LocalCorpus(name, {}, every=(Table(table, cells, _COLUMNS.index(section.text_column)),))


@dataclass(frozen=True)
class Table:
    """A reader of one table: its number of cells, and which of them is the text."""

    file: Path
    cells: int
    text_cell: int

    def __call__(self, skipped: Counter[str]) -> Iterator[Utterance]:
        """Yield the rows in the order they are written."""
        folder = self.file.parent / "wavs"
        suffix = next(
            (file.suffix for file in islice(sorted(folder.iterdir()), 100) if is_recording(file)), ""
        )
        for line in text_lines(self.file):
            cells = [cell.strip() for cell in line.split("|")]
            if len(cells) != self.cells or not cells[0]:
                skipped["malformed-row"] += 1
            elif leaves_folder(cells[0]):
                skipped["path-outside"] += 1
            else:
                name = Path(cells[0])
                recording = folder / (name if is_recording(name) else f"{name}{suffix}")
                yield Utterance(cells[0], recording, cells[self.text_cell])
