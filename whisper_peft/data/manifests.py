"""Manifests: JSONL, CSV and TSV files, and folders with a `metadata` file beside their recordings.

Relative paths are of the manifest's folder. Absolute paths are taken as they are, since a manifest is its
user's own; a relative path that climbs out of the folder with `..` is skipped and counted as `path-outside`,
so that a corpus from elsewhere cannot reach into the reader's files unseen. A row that is no row (no JSON
object, no path, more or fewer cells than columns) is skipped and counted as `malformed-row`.

Rows are read from the file at each pass, so a long manifest costs no memory and a source travels to a worker
process as a few paths.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, TextIO

from whisper_peft.data.rows import Columns, find_columns, leaves_folder, to_utterance
from whisper_peft.data.splits import is_for_scoring, is_for_training
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance

MANIFEST_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")
_METADATA_NAMES = ("metadata.jsonl", "metadata.csv", "metadata.tsv")


def metadata_files(folder: Path) -> tuple[Path, ...]:
    """Return the metadata files of a folder: one in it, or one in each of its split folders."""
    places = [folder, *sorted(child for child in folder.iterdir() if _names_a_split(child.name))]
    found = [place / name for place in places for name in _METADATA_NAMES if (place / name).is_file()]
    return tuple(found[:1] if found and found[0].parent == folder else found)


@dataclass(frozen=True)
class ManifestRows:
    """The rows of manifest files, in the order they are written; of one split, or all of them."""

    files: tuple[Path, ...]
    columns: tuple[Columns, ...]
    """The columns of each file."""
    split: str | None = None
    is_stream: bool = False
    skipped: Counter[str] = field(default_factory=Counter, compare=False)

    @property
    def count(self) -> int:
        """Rows there are, counted by a pass over the text."""
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Utterance]:
        self.skipped.clear()
        for file, columns in zip(self.files, self.columns, strict=True):
            for line, row in _read(file):
                if self.split is None or row is None or _split_of(row, columns, file) == self.split:
                    reason = _refusal(row, columns)
                    if row is None or reason is not None:
                        self.skipped[reason or "malformed-row"] += 1
                    else:
                        name = _name_of(row[columns.audio]) or f"{file.stem}:{line}"
                        yield to_utterance(row, columns, fallback_id=name, folder=file.parent)


@dataclass(frozen=True)
class ManifestCorpus:
    """Manifest files and the splits that their rows, their recordings' folders or they themselves name."""

    name: str
    rows: ManifestRows
    splits: tuple[str, ...]
    config: str = ""

    def select(self, split: str | None) -> ManifestRows:
        """Return the rows of a split, or all of them."""
        return ManifestRows(self.rows.files, self.rows.columns, split)


def open_manifests(files: tuple[Path, ...], section: DataSection, *, name: str) -> ManifestCorpus:
    """Read the columns and the splits of manifest files.

    Raises:
        DataError: If a file is no UTF-8 text, has no row, or lacks a column.
    """
    all_columns: list[Columns] = []
    splits: set[str | None] = set()
    for file in files:
        names: dict[str, None] = {}
        for _, row in _read(file):
            names.update(dict.fromkeys(row or ()))
        if not names:
            raise DataError(f"{file} has no row to read", "it is empty or in another format", _FORMATS)
        columns = find_columns(names, section, source=str(file))
        all_columns.append(columns)
        splits.update(_split_of(row, columns, file) for _, row in _read(file) if row is not None)
    named = tuple(sorted(split for split in splits if split is not None))
    return ManifestCorpus(name, ManifestRows(files, tuple(all_columns)), named)


_FORMATS = "write one JSON object a line (jsonl), or a header and rows (csv with commas, tsv with tabs)"


def _split_of(row: Mapping[str, Any], columns: Columns, file: Path) -> str | None:
    if columns.split is not None:
        return str(row[columns.split]) if row.get(columns.split) else None
    places = [file.parent.name, str(row.get(columns.audio) or "").split("/")[0]]
    return next((place for place in places if _names_a_split(place)), None)


def _refusal(row: Mapping[str, Any] | None, columns: Columns) -> str | None:
    """Return the reason why a row cannot be an utterance, if there is one."""
    audio = row.get(columns.audio) if row is not None else None
    if not isinstance(audio, str):
        return "malformed-row"
    return "path-outside" if leaves_folder(audio) else None


def _name_of(audio: str) -> str:
    """Return a recording's path without its suffix; only the last part of an absolute one."""
    path = PurePath(audio)
    return path.stem if path.is_absolute() or not path.stem else str(path.parent / path.stem)


def _names_a_split(folder: str) -> bool:
    return is_for_training(folder) or is_for_scoring(folder)


def _read(file: Path) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    """Yield each row with its number; None for one that is malformed."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = (
                _delimited_rows(lines, file.suffix)
                if file.suffix in (".csv", ".tsv")
                else map(_json_row, lines)
            )
            yield from ((number, row) for number, row in enumerate(rows, 1) if row != {})
    except UnicodeDecodeError as error:
        why = f"byte {error.start} is no UTF-8"
        raise DataError(f"{file} cannot be read", why, "save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{file} cannot be read", str(error), _FORMATS) from error
    except OSError as error:
        raise DataError(f"{file} cannot be read", str(error.strerror), "check its permissions") from error


def _json_row(line: str) -> Mapping[str, Any] | None:
    if not line.strip():
        return {}
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and row else None


def _delimited_rows(lines: TextIO, suffix: str) -> Iterator[Mapping[str, Any] | None]:
    """Read CSV as RFC 4180 has it; TSV literally, since Common Voice has quotes inside cells."""
    reader = (
        csv.reader(lines)
        if suffix == ".csv"
        else ([_unquoted(cell) for cell in line.rstrip("\r\n").split("\t")] for line in lines if line.strip())
    )
    header = next(reader, [])
    for cells in reader:
        if cells:
            yield dict(zip(header, cells, strict=True)) if len(cells) == len(header) else None


def _unquoted(cell: str) -> str:
    """Take off the quotes that spreadsheet programs put around a cell, and only those."""
    inner = cell[1:-1].replace('""', "")
    is_quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner
    return cell[1:-1].replace('""', '"') if is_quoted else cell
