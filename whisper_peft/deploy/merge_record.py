"""`merge.json`: which adapter a merged folder holds, so that one that was left behind is told."""

from __future__ import annotations

import json
from pathlib import Path

from whisper_peft.errors import MergeError
from whisper_peft.model.adapters.folders import CONFIG_FILE, PICKLE_FILE, SAFE_FILE, find_adapter_folder
from whisper_peft.training.checkpoints import file_digest

MERGE_FILE = "merge.json"


def write_merge_record(merged: Path, run: Path) -> None:
    """Write into a merged folder what its weights are, and what the adapter was.

    Args:
        merged: Folder of the merged model.
        run: Run or adapter folder that it was merged from.
    """
    digests = {"adapter": _adapter_digests(run), "weights": _weight_digests(merged)}
    (merged / MERGE_FILE).write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")


def is_recorded(merged: Path) -> bool:
    """Return whether a merged folder tells what it was merged from."""
    return (merged / MERGE_FILE).is_file()


def check_merge(merged: Path, run: Path) -> None:
    """Refuse a merged folder that is not the adapter's any more.

    Args:
        merged: Folder of a merged model, with its record.
        run: Run or adapter folder.

    Raises:
        MergeError: If the adapter was trained, averaged or exchanged since, or the folder was changed.
    """
    again = f"delete {merged} and merge again: whisper-peft merge {run}"
    try:
        record = json.loads((merged / MERGE_FILE).read_text(encoding="utf-8"))
        adapter, weights = record["adapter"], record["weights"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MergeError(f"{merged / MERGE_FILE} cannot be read", str(error), again) from None
    if adapter != _adapter_digests(run):
        raise MergeError(f"{merged} is stale", "it holds another adapter than the run has now", again)
    if weights != _weight_digests(merged):
        raise MergeError(f"{merged} was changed", "its weights are not those that were merged", again)


def _adapter_digests(run: Path) -> dict[str, str]:
    folder = find_adapter_folder(run / "adapter") or find_adapter_folder(run) or run
    files = [folder / name for name in (CONFIG_FILE, SAFE_FILE, PICKLE_FILE)]
    return {file.name: file_digest(file) for file in files if file.is_file()}


def _weight_digests(merged: Path) -> dict[str, str]:
    return {file.name: file_digest(file) for file in sorted(merged.glob("*.safetensors"))}
