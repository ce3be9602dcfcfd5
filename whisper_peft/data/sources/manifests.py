"""Manifests: JSONL, CSV and TSV files, and folders with a `metadata` file beside their recordings.

Relative paths are of the manifest's folder. Absolute paths are taken as they are, since a manifest is its
user's own; a relative path that climbs out of the folder with `..` is skipped and counted as `path-outside`,
so that a corpus from elsewhere cannot reach into the reader's files unseen. A row that is no row (no JSON
object, no path, more or fewer cells than columns) is skipped and counted as `malformed-row`.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, TextIO

from whisper_peft.data.sources.local_corpora import LocalCorpus, leaves_folder, reading
from whisper_peft.data.sources.rows import Columns, find_columns, names_speech, refusal, to_utterance
from whisper_peft.data.splits import is_for_scoring, is_for_training
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance

MANIFEST_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")
_TABLE_SUFFIXES = (".jsonl", ".csv", ".tsv")
"""Those that are a manifest wherever they lie; a `.json` may be anything."""

_LONGEST_LINE = 2**16
"""Bytes of a row that a `.json` is known by."""


def metadata_files(folder: Path) -> tuple[Path, ...]:
    """Return the metadata files of a folder: one in it, or one in each of its split folders."""
    places = [folder, *sorted(child for child in folder.iterdir() if _names_a_split(child.name))]
    names = [f"metadata{suffix}" for suffix in _TABLE_SUFFIXES]
    found = [place / name for place in places for name in names if (place / name).is_file()]
    return tuple(found[:1] if found and found[0].parent == folder else found)


def manifests_in(folder: Path) -> tuple[Path, ...]:
    """Return the manifests of a folder: one for each split, named after it, or the only one.

    A table without columns for recordings and text, as public corpora name them, is none.
    """
    files = (file for file in folder.iterdir() if file.is_file())
    tables = sorted(file for file in files if file.suffix in _TABLE_SUFFIXES or _has_json_lines(file))
    found = tuple(file for file in tables if names_speech(column_names(file)))
    by_split = tuple(file for file in found if _names_a_split(file.stem))
    return by_split if len(by_split) > 1 else found if len(found) == 1 else ()


def _has_json_lines(file: Path) -> bool:
    """Tell whether a `.json` begins with an object on a line, as NeMo's manifests do."""
    if file.suffix != ".json":
        return False
    with reading(file), file.open("rb") as start:
        line = start.readline(_LONGEST_LINE).strip()
    return line.startswith(b"{") and line.endswith(b"}")


def column_names(file: Path, rows: int | None = 1) -> dict[str, None]:
    """Return the columns of a manifest's first rows, or of all rows, in order."""
    names: dict[str, None] = {}
    for _, row in itertools.islice(read_rows(file), rows):
        names.update(dict.fromkeys(row or ()))
    return names


def open_manifests(
    files: tuple[Path, ...], section: DataSection, *, name: str, named_by_file: bool = False
) -> LocalCorpus:
    """Read the columns and the splits of manifest files.

    Args:
        files: The manifests.
        section: The columns that the recipe names.
        name: Where the corpus lies.
        named_by_file: Whether each file is named after its split.

    Raises:
        DataError: If a file is no UTF-8 text, has no row, or lacks a column.
    """
    manifests = [open_manifest(file, section, named_by_file=named_by_file) for file in files]
    splits = {split for manifest in manifests for split in manifest.splits()}
    readers = {
        split: tuple(replace(manifest, split=split) for manifest in manifests)
        for split in sorted(split for split in splits if split is not None)
    }
    return LocalCorpus(name, readers, every=tuple(manifests))


def open_manifest(
    file: Path, section: DataSection, *, folder: Path | None = None, named_by_file: bool = False
) -> Manifest:
    """Read the columns of a manifest.

    Args:
        file: The manifest.
        section: The columns that the recipe names.
        folder: Where its recordings lie. None: beside it.
        named_by_file: Whether its rows are of the split that it is named after.

    Raises:
        DataError: If it is no UTF-8 text, has no row, or lacks a column.
    """
    names = column_names(file, rows=None)
    if not names:
        raise DataError(f"{file} has no row to read", "it is empty or in another format", _FORMATS)
    columns = find_columns(names, section, source=str(file))
    return Manifest(file, columns, folder or file.parent, named_by_file=named_by_file)


_FORMATS = "write one JSON object a line (jsonl), or a header and rows (csv with commas, tsv with tabs)"


@dataclass(frozen=True)
class Manifest:
    """A reader of one manifest's rows: those of a split, or all of them."""

    file: Path
    columns: Columns
    folder: Path
    split: str | None = None
    named_by_file: bool = False

    def __call__(self, skipped: Counter[str]) -> Iterator[Utterance]:
        """Yield the rows in the order they are written."""
        if self.named_by_file and self.split not in (None, self.file.stem):
            return
        for line, row in read_rows(self.file):
            if self.split is not None and self._is_elsewhere(row):
                continue
            reason = self._refusal(row)
            if row is None or reason is not None:
                skipped[reason or "malformed-row"] += 1
            else:
                name = _name_of(row[self.columns.audio]) or f"{self.file.stem}:{line}"
                yield to_utterance(row, self.columns, fallback_id=name, folder=self.folder)

    def splits(self) -> set[str | None]:
        """Return the splits that the rows, their recordings' folders or the file itself name."""
        return {self._split_of(row) for _, row in read_rows(self.file) if row is not None}

    def _is_elsewhere(self, row: Mapping[str, Any] | None) -> bool:
        """Tell whether a row is of another split; one that is broken may be of any, if nothing tells."""
        split = self._split_of(row or {})
        return split != self.split and not (row is None and split is None)

    def _split_of(self, row: Mapping[str, Any]) -> str | None:
        if self.named_by_file:
            return self.file.stem
        if self.columns.split is not None:
            return str(row[self.columns.split]) if row.get(self.columns.split) else None
        places = [self.file.parent.name, str(row.get(self.columns.audio) or "").split("/")[0]]
        return next((place for place in places if _names_a_split(place)), None)

    def _refusal(self, row: Mapping[str, Any] | None) -> str | None:
        """Return the reason why a row cannot be an utterance, if there is one."""
        audio = row.get(self.columns.audio) if row is not None else None
        if row is None or not isinstance(audio, str):
            return "malformed-row"
        return "path-outside" if leaves_folder(audio) else refusal(row, self.columns)


def _name_of(audio: str) -> str:
    """Return a recording's path without its suffix; only the last part of an absolute one."""
    path = PurePath(audio)
    return path.stem if path.is_absolute() or not path.stem else str(path.parent / path.stem)


def _names_a_split(folder: str) -> bool:
    return is_for_training(folder) or is_for_scoring(folder)


def read_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    """Yield each row of a manifest with its number; None for one that is malformed.

    Bytes that are no UTF-8 become halves of characters, by which the row is known as `not-utf8`; in paths
    they are what names the file.
    """
    with reading(file), _opened(file) as lines:
        is_table = file.suffix in (".csv", ".tsv")
        rows = _delimited_rows(lines, file) if is_table else map(_json_row, lines)
        yield from ((number, row) for number, row in enumerate(rows, 1) if row != {})


def _opened(file: Path) -> TextIO:
    """Open a manifest as UTF-8, or as the UTF-16 that spreadsheet programs write."""
    with file.open("rb") as start:
        is_utf16 = start.read(2) in (b"\xff\xfe", b"\xfe\xff")
    if is_utf16:
        return file.open(encoding="utf-16", newline="")
    return file.open(encoding="utf-8-sig", newline="", errors="surrogateescape")


def _json_row(line: str) -> Mapping[str, Any] | None:
    if not line.strip():
        return {}
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and row else None


def _delimited_rows(lines: TextIO, file: Path) -> Iterator[Mapping[str, Any] | None]:
    """Read CSV as RFC 4180 has it; TSV literally, since Common Voice has quotes inside cells."""
    reader: Iterator[list[str] | None] = (
        _csv_rows(lines)
        if file.suffix == ".csv"
        else ([_unquoted(cell) for cell in line.rstrip("\r\n").split("\t")] for line in lines if line.strip())
    )
    header = next(reader, None) or []
    if repeated := [name for name, count in Counter(header).items() if name and count > 1]:
        raise DataError(
            f"{file} has the column {repeated[0]!r} twice", "one would hide the other", "rename one"
        )
    for cells in reader:
        if cells != []:
            fits = cells is not None and len(cells) == len(header)
            yield dict(zip(header, cells or (), strict=True)) if fits else None


def _csv_rows(lines: TextIO) -> Iterator[list[str] | None]:
    """Yield the cells of each row; None for each line of one whose quotes do not match, or that is vast.

    Where the decimal sign is a comma, spreadsheet programs part cells with semicolons: the header tells.
    """
    header = lines.readline()
    delimiter = ";" if ";" in header and "," not in header else ","
    reader = csv.reader(itertools.chain([header], lines), strict=True, delimiter=delimiter)
    while True:
        before = reader.line_num
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield from itertools.repeat(None, max(reader.line_num - before, 1))


def _unquoted(cell: str) -> str:
    """Take off the quotes that spreadsheet programs put around a cell, and only those."""
    inner = cell[1:-1].replace('""', "")
    is_quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner
    return cell[1:-1].replace('""', '"') if is_quoted else cell
