"""Speech that is already in Python: data sets of `datasets`, lists of dicts, any iterable of utterances.

A list or tuple is a local source, whose rows can be checked before anything else begins; every other iterable
is a stream, of which one row is held at a time.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any

import datasets

from whisper_peft.data.sources.hub import undecoded
from whisper_peft.data.sources.rows import Columns, find_columns, refusal, to_utterance
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance

logger = logging.getLogger(__name__)

_STORED = datasets.Dataset | datasets.IterableDataset
"""Tables whose rows hold their recordings, cut already."""


@dataclass(frozen=True)
class TableRows:
    """The rows of one or more tables, one after the other."""

    tables: Mapping[str, Iterable[Any]]
    """By the name of their split."""
    columns: Columns | None
    """None where the rows are utterances already."""
    numbered_ids: bool = False
    """Whether ids carry their row's number, because a data set repeats some."""
    skipped: Counter[str] = field(default_factory=Counter, compare=False)

    @property
    def is_stream(self) -> bool:
        """Whether the rows are anything but a list or tuple."""
        return not all(isinstance(table, list | tuple) for table in self.tables.values())

    @property
    def count(self) -> int | None:
        """Rows there are, None where a table does not say."""
        sizes = [len(table) for table in self.tables.values() if isinstance(table, Sized)]
        return sum(sizes) if len(sizes) == len(self.tables) else None

    def __iter__(self) -> Iterator[Utterance]:
        self.skipped.clear()
        for split, table in self.tables.items():
            for number, row in enumerate(table):
                if (
                    self.columns is not None
                    and isinstance(row, Mapping)
                    and (reason := refusal(row, self.columns))
                ):
                    self.skipped[reason] += 1
                else:
                    yield self._utterance(f"{split}:{number}", row)

    def _utterance(self, position: str, row: Any) -> Utterance:
        if isinstance(row, Utterance):
            return row
        if self.columns is None or not isinstance(row, Mapping):
            raise _refuse_row(row)
        utterance = to_utterance(row, self.columns, fallback_id=position)
        return (
            dataclasses.replace(utterance, id=f"{utterance.id}@{position}")
            if self.numbered_ids
            else utterance
        )


@dataclass(frozen=True)
class TableCorpus:
    """Tables by split, or one table under the name `row`."""

    name: str
    tables: Mapping[str, Iterable[Any]]
    columns: Columns | None
    splits: tuple[str, ...]
    numbered_ids: bool
    config: str = ""

    def select(self, split: str | None) -> TableRows:
        """Return the rows of a split, or all of them."""
        tables = self.tables if split is None else {split: self.tables[split]}
        return TableRows(tables, self.columns, self.numbered_ids)


def open_table(source: Any, section: DataSection, *, name: str | None = None) -> TableCorpus:
    """Find the splits and the columns of a data set, a mapping of splits to data sets, or any iterable.

    Args:
        source: The rows.
        section: The columns that the recipe names.
        name: What messages call it. None: the type that was given as data.source.

    Raises:
        DataError: If it cannot be iterated more than once, has no rows, or lacks a column.

    Example:
        >>> rows = [{"audio": "a.wav", "text": "A", "split": "dev"}]
        >>> open_table(rows, DataSection()).splits
        ('dev',)
    """
    name = name or f"the {type(source).__name__} given as data.source"
    is_split = isinstance(source, Mapping)
    tables = {str(split): table for split, table in source.items()} if is_split else {"row": source}
    for table in tables.values():
        _check_table(table, name)
    names = _column_names(tables, name)
    if names is None:
        return TableCorpus(name, tables, None, tuple(tables) if is_split else (), numbered_ids=False)
    stored = all(isinstance(table, _STORED) for table in tables.values())
    columns = find_columns(names, section, source=name, cut=stored)
    tables = {split: _undecoded(table, columns) for split, table in tables.items()}
    numbered = any(_repeats_ids(table, columns, name) for table in tables.values())
    if not is_split and columns.split is not None:
        tables = _part(tables["row"], columns.split)
    splits = tuple(tables) if "row" not in tables else ()
    return TableCorpus(name, tables, columns, splits, numbered)


def _check_table(table: Any, name: str) -> None:
    known = "give a datasets.Dataset, a list of dicts or utterances, or an object with __iter__"
    if isinstance(table, str | bytes) or not isinstance(table, Iterable):
        raise DataError(f"data.source is of type {type(table).__name__}", "there are no rows in it", known)
    if isinstance(table, Iterator):
        why = "it can be read only once, and training reads it once an epoch"
        raise DataError(f"{name} is an iterator", why, known)


def _column_names(tables: Mapping[str, Iterable[Any]], name: str) -> set[str] | None:
    """Return the columns of a list, or of a stream's first row; None where they are utterances."""
    names: set[str] = set()
    for table in tables.values():
        known = table.column_names if isinstance(table, _STORED) else None
        first = table if isinstance(table, list | tuple) else itertools.islice(table, 1)
        for row in [dict.fromkeys(known)] if known else first:
            if isinstance(row, Utterance):
                return None
            if not isinstance(row, Mapping):
                raise _refuse_row(row)
            names.update(row)
    if not names:
        raise DataError(f"{name} is empty", "there is nothing to learn or to score", "give at least one row")
    return names


def _refuse_row(row: Any) -> DataError:
    todo = "yield dicts with audio and text, or whisper_peft.types.Utterance"
    return DataError(f"a row of data.source is of type {type(row).__name__}", "it has no columns", todo)


def _undecoded(table: Iterable[Any], columns: Columns) -> Iterable[Any]:
    if isinstance(table, _STORED):
        read = table.select_columns(list(columns.names)) if table.column_names else table
        table = undecoded(read, columns.audio)
    return table


def _repeats_ids(table: Iterable[Any], columns: Columns, name: str) -> bool:
    if columns.id is None or not isinstance(table, datasets.Dataset):
        return False
    repeats = len(table) - len(table.unique(columns.id))
    if repeats:
        logger.info("%s: %d ids are used twice; each gets its row's number", name, repeats)
    return repeats > 0


def _part(table: Iterable[Any], column: str) -> dict[str, Iterable[Any]]:
    """Part a table by its split column, unless only reading it to its end would tell the splits."""
    if isinstance(table, datasets.Dataset):
        values = table[column]
        indices = {
            split: [n for n, value in enumerate(values) if value == split] for split in table.unique(column)
        }
        return {str(split): table.select(rows) for split, rows in sorted(indices.items())}
    if isinstance(table, list | tuple):
        splits = sorted({str(row[column]) for row in table if row.get(column)})
        return {split: [row for row in table if str(row.get(column)) == split] for split in splits}
    return {"row": table}
