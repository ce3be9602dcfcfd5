"""Local parquet shards as the Hub stores speech: `audio` is a struct of encoded bytes and a path.

Rows are read a few at a time, so memory does not grow with the corpus; only the columns that are needed are
read. A shard's split is found, as on the Hub, from its name (`train-00000-of-00014.parquet`,
`train.clean.100.parquet`) or its folder (`clean/train.100/0000.parquet`), else from a `split` column.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whisper_peft.data.rows import Columns, find_columns, to_utterance
from whisper_peft.data.splits import is_for_scoring, is_for_training, split_key
from whisper_peft.errors import DataError, did_you_mean
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance

logger = logging.getLogger(__name__)

_ROWS_AT_A_TIME = 16
"""About 4 MB of LibriSpeech."""

_PLUMBING = {"data", "default", "all"}
"""Folders of the Hub that say nothing about which rows they hold."""


@dataclass(frozen=True)
class ParquetRows:
    """The rows of shards, in the order of their paths; of one value of the split column, or all of them."""

    shards: tuple[Path, ...]
    columns: Columns
    split: str | None = None
    numbered_ids: bool = False
    """Whether ids carry their row's number, because the corpus repeats some."""
    is_stream: bool = True
    skipped: Counter[str] = field(default_factory=Counter, compare=False)

    @property
    def count(self) -> int:
        """Rows there are, from the shards' footers and, where rows are chosen by it, the split column."""
        if self.split is None:
            return sum(_open(shard).metadata.num_rows for shard in self.shards)
        split_column = str(self.columns.split)
        values = (_column(shard, split_column) for shard in self.shards)
        return sum(pc.sum(pc.equal(column, self.split)).as_py() or 0 for column in values)

    def __iter__(self) -> Iterator[Utterance]:
        for shard in self.shards:
            for number, row in enumerate(_rows(shard, self.columns)):
                if self.split is None or row[str(self.columns.split)] == self.split:
                    yield self._utterance(shard, number, row)

    def _utterance(self, shard: Path, number: int, row: dict[str, Any]) -> Utterance:
        position = f"{shard.parent.name}/{shard.stem}:{number}"
        utterance = to_utterance(row, self.columns, fallback_id=position, folder=shard.parent)
        return replace(utterance, id=f"{utterance.id}@{position}") if self.numbered_ids else utterance


@dataclass(frozen=True)
class ParquetCorpus:
    """Shards by split, or shards whose rows have a split column."""

    name: str
    shards: dict[str | None, tuple[Path, ...]]
    columns: Columns
    splits: tuple[str, ...]
    numbered_ids: bool
    config: str = ""

    def select(self, split: str | None) -> ParquetRows:
        """Return the rows of a split, or all of them."""
        if split in self.shards:
            return ParquetRows(self.shards[split], self.columns, None, self.numbered_ids)
        every = tuple(sorted(shard for shards in self.shards.values() for shard in shards))
        return ParquetRows(every, self.columns, split, self.numbered_ids)


def shards_in(path: Path) -> tuple[Path, ...]:
    """Return the shard that a path is, or those anywhere in the folder that it is."""
    return tuple(sorted(path.rglob("*.parquet"))) if path.is_dir() else (path,)


def open_shards(path: Path, section: DataSection, *, name: str) -> ParquetCorpus:
    """Find the splits and the columns of a parquet file or folder.

    Raises:
        DataError: If a shard is damaged, or lacks a column, or the named configuration is absent.
    """
    root = _configured(path, section.config)
    folder = root.parent if root.is_file() else root
    by_split: dict[str | None, tuple[Path, ...]] = {}
    for shard in shards_in(root):
        split = _split_of(shard, folder)
        by_split[split] = (*by_split.get(split, ()), shard)
    _drop_repeats(by_split)
    shards = tuple(shard for shards in by_split.values() for shard in shards)
    columns = find_columns(_open(shards[0]).schema_arrow.names, section, source=str(shards[0]))
    _check_columns(shards, columns)
    splits = [split for split in by_split if split is not None]
    if not splits and columns.split is not None:
        splits = sorted({value for shard in shards for value in _values(shard, columns.split)})
    numbered = columns.id is not None and _repeats(shards, columns.id, name)
    return ParquetCorpus(name, by_split, columns, tuple(splits), numbered, _shared_folder(splits))


def _configured(path: Path, config: str | None) -> Path:
    if config is None or path.is_file():
        return path
    if not (path / config).is_dir():
        known = [child.name for child in path.iterdir() if child.is_dir()]
        raise DataError(
            f"data.config is {config!r}", f"{path} has no such folder", did_you_mean(config, known)
        )
    return path / config


def _split_of(shard: Path, root: Path) -> str | None:
    """Return the split that a shard's folders and name spell, if they do."""
    folders = [name for name in shard.relative_to(root).parts[:-1] if name not in _PLUMBING]
    stem = re.sub(r"-\d+-of-\d+$", "", shard.stem)
    parts = [*folders, stem] if _names_a_split(stem) and stem not in folders else folders
    return "/".join(parts) if _names_a_split("/".join(parts)) else None


def _names_a_split(name: str) -> bool:
    return is_for_training(name) or is_for_scoring(name)


def _shared_folder(splits: list[str]) -> str:
    """Return the configuration that all splits lie in, whose name may then be left out."""
    folders = {split.rpartition("/")[0] for split in splits}
    return folders.pop() if len(folders) == 1 else ""


def _drop_repeats(by_split: dict[str | None, tuple[Path, ...]]) -> None:
    """Forget `clean/train.100` where `all/train.clean.100` holds the same rows."""
    kept: set[frozenset[str]] = set()
    for split in [split for split in by_split if split is not None]:
        if split_key(split) in kept:
            del by_split[split]
        kept.add(split_key(split))


def _check_columns(shards: tuple[Path, ...], columns: Columns) -> None:
    for shard in shards:
        absent = sorted(set(columns.names) - set(_open(shard).schema_arrow.names))
        if absent:
            why = f"{shards[0]} has it, and shards must be alike"
            raise DataError(f"{shard} has no column {absent[0]!r}", why, "remove or rewrite the shard")


def _open(shard: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(shard, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{shard} cannot be read", str(error), "download it again") from error


def _rows(shard: Path, columns: Columns) -> Iterator[dict[str, Any]]:
    try:
        for batch in _open(shard).iter_batches(_ROWS_AT_A_TIME, columns=list(columns.names)):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{shard} cannot be read to its end", str(error), "download it again") from error


def _column(shard: Path, name: str) -> pa.ChunkedArray:
    return _open(shard).read(columns=[name])[name]


def _values(shard: Path, column: str) -> list[str]:
    return [str(value) for value in pc.unique(_column(shard, column)).to_pylist() if value]


def _repeats(shards: tuple[Path, ...], column: str, name: str) -> bool:
    chunks = [chunk for shard in shards for chunk in _column(shard, column).chunks]
    ids = pa.chunked_array(chunks) if chunks else pa.chunked_array([], pa.string())
    repeats = len(ids) - int(pc.count_distinct(ids).as_py())
    if repeats:
        logger.info(
            "%s: %d ids in column %r are used twice; each gets its row's number", name, repeats, column
        )
    return repeats > 0
