"""The folder that a written-down corpus grows in: shards that are whole or not there, and what came of them.

```
parts/part-000000.jsonl   every row of a shard, unusable ones with their reason (or .parquet)
parts/part-000000.json    moved in place last: the shard's checksum and the source's rows that it finishes
recordings/               16 kHz FLAC of recordings that lie in no file of their own
metadata.jsonl            the rows to learn from: data.source of finetune
corpus.json               what was asked for, and how much came of it
```

A shard without its manifest, or of another checksum, does not count: its rows are heard again.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.parquet

from whisper_peft.errors import StorageError
from whisper_peft.pipeline.corpora.labelled_rows import LabelledRow

logger = logging.getLogger(__name__)

ShardFormat: TypeAlias = Literal["jsonl", "parquet"]

PARTS, RECORDINGS, MANIFEST, RECORD = "parts", "recordings", "metadata.jsonl", "corpus.json"

_TYPES = {"str": pa.string(), "float": pa.float64(), "bool": pa.bool_()}

SCHEMA = pa.schema(
    (name, _TYPES[str(annotation).split(" |")[0]]) for name, annotation in LabelledRow.__annotations__.items()
)
"""The columns of a parquet shard: the fields of a row."""


@dataclass
class CorpusFolder:
    """The shards of a folder; one process writes, the one that holds the folder's lock.

    Args:
        folder: Where they lie.
        format: In which format new shards are written; those of both are read.
        finished: Ids of the source's rows that whole shards hold.
    """

    folder: Path
    format: ShardFormat = "jsonl"
    finished: set[str] = field(default_factory=set)
    _whole: list[str] = field(default_factory=list)
    _next: int = 0

    def open(self, asked: Mapping[str, Any]) -> None:
        """Find the whole shards of the same work.

        Args:
            asked: What the transcripts depend on: another model's do not go into the same corpus.

        Raises:
            StorageError: If the folder holds other work, or cannot be written.
        """
        record, parts = self.folder / RECORD, self.folder / PARTS
        for manifest in sorted(parts.glob("part-*.json")):
            self._read_manifest(manifest)
        if self._whole and record.is_file():
            before = json.loads(record.read_text(encoding="utf-8"))["asked"]
            other = [name for name in asked if before.get(name) != asked[name]]
            if other:
                was = ", ".join(f"{name} {before.get(name)} (now {asked[name]})" for name in other)
                todo = "give another --output-dir, or ask for the same again"
                raise StorageError(f"{self.folder} holds a corpus that was written otherwise", was, todo)
        else:
            write_whole(record, _json({"asked": dict(asked)}))
        whole = {Path(shard).stem for shard in self._whole}
        for file in parts.iterdir() if parts.is_dir() else ():
            if file.stem not in whole:  # else whoever reads parts/ would find its rows twice
                file.unlink()

    def _read_manifest(self, manifest: Path) -> None:
        self._next = max(self._next, int(manifest.stem.removeprefix("part-")) + 1)
        try:
            content = json.loads(manifest.read_text(encoding="utf-8"))
            shard = (self.folder / PARTS / content["shard"]).read_bytes()
            is_whole = hashlib.sha256(shard).hexdigest() == content["sha256"]
        except (OSError, ValueError, KeyError):
            is_whole = False
        if not is_whole:
            logger.warning("%s, or its shard, is damaged: their rows are heard again", manifest)
            return
        self._whole.append(content["shard"])
        self.finished.update(content["source_ids"])

    def add(self, heard: Sequence[tuple[LabelledRow, bytes | None]]) -> None:
        """Write a shard, with recordings that lie in no file; rows that a shard has already are left out.

        Raises:
            StorageError: If the folder is full or not writable.
        """
        fresh = [(row, flac) for row, flac in heard if row.source_id not in self.finished]
        if not fresh:
            return
        for row, flac in fresh:
            if flac is not None and row.audio is not None:
                write_whole(self.folder / row.audio, flac)
        rows = [row for row, _ in fresh]
        content = _parquet(rows) if self.format == "parquet" else b"".join(map(_line, rows))
        name, ids = f"part-{self._next:06d}", list(dict.fromkeys(row.source_id for row in rows))
        shard = f"{name}.{self.format}"
        write_whole(self.folder / PARTS / shard, content)
        manifest = {"shard": shard, "sha256": hashlib.sha256(content).hexdigest(), "source_ids": ids}
        write_whole(self.folder / PARTS / f"{name}.json", _json(manifest))
        self._whole.append(shard)
        self.finished.update(ids)
        self._next += 1

    def rows(self) -> Iterator[LabelledRow]:
        """Yield the rows of all whole shards, each source row once."""
        for shard in self._whole:
            path = self.folder / PARTS / shard
            if path.suffix == ".parquet":
                plain = pyarrow.parquet.read_table(path).to_pylist()
            else:
                plain = [json.loads(line) for line in path.read_bytes().splitlines()]
            yield from (LabelledRow(**fields) for fields in plain)

    def write_manifest(self, rows: Sequence[LabelledRow]) -> Path:
        """Write the manifest that `finetune` reads, in an order that no number of workers changes."""
        ordered = sorted(rows, key=lambda row: (row.source_id, row.start or 0.0))
        path = self.folder / MANIFEST
        write_whole(path, b"".join(map(_line, ordered)))
        return path

    def write_record(self, content: Mapping[str, Any]) -> None:
        """Write what was asked for, and how much came of it."""
        write_whole(self.folder / RECORD, _json(content))


def recording_place(row_id: str) -> str:
    """Return where the recording of a row is written, in the folder: ids may be names of any kind.

    Example:
        >>> recording_place("../a b")
        'recordings/2c2c791a0618990c.flac'
    """
    return f"{RECORDINGS}/{hashlib.sha256(row_id.encode()).hexdigest()[:16]}.flac"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all.

    Raises:
        StorageError: If the folder is full or not writable.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        why, todo = error.strerror or str(error), "free space and run it again: what is finished stays"
        raise StorageError(f"{path} cannot be written", why, todo) from error


def _line(row: LabelledRow) -> bytes:
    told = {name: value for name, value in row.to_dict().items() if value is not None}
    return (json.dumps(told, ensure_ascii=False) + "\n").encode()


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _parquet(rows: Sequence[LabelledRow]) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist([row.to_dict() for row in rows], schema=SCHEMA), sink)
    return sink.getvalue()
