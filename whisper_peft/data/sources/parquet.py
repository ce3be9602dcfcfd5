"""Local parquet shards as the Hub stores speech: `audio` is a struct of encoded bytes and a path.

Rows are read a few at a time, so memory does not grow with the corpus; only the columns that are needed are
read. A row's recording is taken whole, whatever columns of times say: it was cut before it was stored. A
shard's split is found, as on the Hub, from its name (`train-00000-of-00014.parquet`,
`train.clean.100.parquet`) or its folder (`clean/train.100/0000.parquet`), else from a `split` column.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whisper_peft.data.sources.local_corpora import leaves_folder
from whisper_peft.data.sources.rows import Columns, find_columns, refusal, to_utterance
from whisper_peft.data.sources.skipping import Keeps, PassedOver
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
        self.skipped.clear()
        for shard in self.shards:
            for _, utterance in self._read(shard, self.columns.names):
                yield utterance

    def after(self, count: int, keeps: Keeps) -> Iterator[Utterance]:
        """Yield the rows that `keeps` wants, without the first `count`, whose recordings are not read."""
        self.skipped.clear()
        passed = PassedOver(count, self.shards[0].parent.name)
        for shard in self.shards:
            first = self._first_past(shard, passed, keeps)
            if first is not None:
                rows = self._read(shard, self.columns.names, first)
                yield from (utterance for _, utterance in rows if keeps(utterance))

    def _first_past(self, shard: Path, passed: PassedOver, keeps: Keeps) -> int | None:
        """Return the first row of a shard that is not passed over, None if all are."""
        if passed.passed == passed.count:
            return 0
        texts = [name for name in self.columns.names if name != self.columns.audio]
        for number, utterance in self._read(shard, texts):
            if keeps(utterance) and passed.is_past():
                return number
        return None

    def _read(self, shard: Path, columns: Sequence[str], first: int = 0) -> Iterator[tuple[int, Utterance]]:
        """Yield the rows of a shard from one on, with their numbers; without audio if it is no column."""
        for number, row in enumerate(_rows(shard, columns, first), first):
            if self.split is not None and row[str(self.columns.split)] != self.split:
                continue
            if (reason := _reaching_out(row, self.columns) or refusal(row, self.columns)) is not None:
                self.skipped[reason] += 1
            else:
                yield number, self._utterance(shard, number, row)

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
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    return tuple(file for file in files if file.suffix == ".parquet" and file.is_file())


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
    columns = find_columns(_open(shards[0]).schema_arrow.names, section, source=str(shards[0]), cut=True)
    _check_columns(shards, columns)
    splits = [split for split in by_split if split is not None]
    if not splits and columns.split is not None:
        splits = sorted({value for shard in shards for value in _values(shard, columns.split)})
    numbered = columns.id is not None and _repeats(shards, columns.id, name)
    return ParquetCorpus(name, by_split, columns, tuple(splits), numbered, _shared_folder(splits))


def _reaching_out(row: Mapping[str, Any], columns: Columns) -> str | None:
    """Return `path-outside` for a row whose recording is a path out of its shard's folder."""
    audio = row.get(columns.audio)
    path = audio.get("path") if isinstance(audio, Mapping) and not audio.get("bytes") else audio
    return "path-outside" if isinstance(path, str) and leaves_folder(path) else None


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


def _rows(shard: Path, columns: Sequence[str], first: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the rows of a shard from one on; the row groups before it are not read."""
    try:
        file = _open(shard)
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        starts = [0, *itertools.accumulate(sizes)]
        groups = [group for group, end in enumerate(starts[1:]) if end > first]
        to_drop = first - starts[groups[0]] if groups else 0
        for batch in file.iter_batches(_ROWS_AT_A_TIME, row_groups=groups, columns=list(columns)):
            yield from batch.slice(min(to_drop, len(batch))).to_pylist()
            to_drop = max(to_drop - len(batch), 0)
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
