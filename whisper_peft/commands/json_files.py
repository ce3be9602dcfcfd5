"""Results written where `--json` says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from whisper_peft.errors import StorageError


def refuse_unwritable(file: Path) -> None:
    """Refuse, before the work, a file that could not be written after it; leave no trace."""
    is_new = not file.exists()
    with _storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8"):
            pass
        if is_new:
            file.unlink()


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a result as JSON; the folder is made."""
    with _storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _storage_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise StorageError(f"{file} cannot be written", why, "free space, or choose another file") from None
