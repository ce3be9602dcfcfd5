"""Common Voice as Mozilla packs a language: recordings in `clips/`, and a table for each split.

`train`, `dev` and `test` share no speaker. `validated` holds their rows and more, so it stands for all rows
where it is there. What listeners voted down (`invalidated.tsv`) or have not judged (`other.tsv`) is read only
where that table itself is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from whisper_peft.data.sources.local_corpora import LocalCorpus
from whisper_peft.data.sources.manifests import column_names, open_manifest
from whisper_peft.recipe.sections import DataSection

_SPLITS = ("train", "dev", "test", "validated")
_COLUMNS = {"client_id", "path", "sentence"}


def tables_in(path: Path) -> dict[str, Path]:
    """Return the tables with rows by the name of their split: those of a folder, or the one that a path is.

    Example:
        >>> tables_in(Path("no-such-folder"))
        {}
    """
    tables = [path / f"{split}.tsv" for split in _SPLITS] if path.is_dir() else [path]
    return {table.stem: table for table in tables if _is_table(table)}


def _is_table(file: Path) -> bool:
    if file.suffix != ".tsv" or not file.is_file() or not (file.parent / "clips").is_dir():
        return False
    return column_names(file).keys() >= _COLUMNS


def open_common_voice(tables: Mapping[str, Path], section: DataSection, *, name: str) -> LocalCorpus:
    """Find the columns of each table.

    Args:
        tables: What `tables_in` found.
        section: The columns that the recipe names.
        name: Where the corpus lies.
    """
    readers = {
        split: (open_manifest(table, section, folder=table.parent / "clips", named_by_file=True),)
        for split, table in tables.items()
    }
    return LocalCorpus(name, readers, every=readers.get("validated"))
