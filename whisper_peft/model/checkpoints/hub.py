"""Finds checkpoints in the Hub's cache and on the Hub, and gives up soon where there is no network."""

from __future__ import annotations

import json
import queue
import re
import threading
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, is_offline_mode, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import RepositoryNotFoundError

from whisper_peft.errors import ModelError

ANSWER_TIMEOUT_S = 5.0
"""How long the Hub may take to list a repository's files, name resolution included."""

COMPANION_FILES = re.compile(
    r"(config|generation_config|preprocessor_config|processor_config|tokenizer|tokenizer_config|vocab|vocabulary"
    r"|added_tokens|special_tokens_map|normalizer)\.json|merges\.txt|vocabulary\.txt"
)
"""What is downloaded beside the weights."""


def cached_folder(repo_id: str) -> Path | None:
    """Return the snapshot of a repository in the Hub's cache if its weights are complete, or None."""
    config = try_to_load_from_cache(repo_id, "config.json")
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    weights = weight_files([file.name for file in folder.iterdir()])
    return folder if weights and not missing_shards(folder, weights) else None


def download(repo_id: str) -> Path:
    """Download the files of one Whisper that are needed, and return their folder.

    Raises:
        ModelError: If the Hub is switched off, does not answer, or has no such Whisper.
    """
    if is_offline_mode():
        raise ModelError(f"{repo_id} is not in the Hub cache", "the Hub is switched off by HF_HUB_OFFLINE")
    files = _list_files(repo_id)
    weights = weight_files(files)
    if not weights:
        raise ModelError(f"{repo_id} has no Whisper weights", "it has no model.safetensors and no model.bin")
    wanted = [*weights, *(name for name in files if COMPANION_FILES.fullmatch(name))]
    return Path(snapshot_download(repo_id, allow_patterns=wanted))


def weight_files(files: Sequence[str]) -> list[str]:
    """Return the files of a repository that hold its weights once: safetensors first, pickles last.

    Example:
        >>> weight_files(["pytorch_model.bin", "model.safetensors", "config.json"])
        ['model.safetensors']
        >>> weight_files(["model.bin", "config.json"])
        ['model.bin']
    """
    for single, index, shard in (
        ("model.safetensors", "model.safetensors.index.json", r"model-\d+-of-\d+\.safetensors"),
        ("model.bin", "model.bin", r"model\.bin"),
        ("pytorch_model.bin", "pytorch_model.bin.index.json", r"pytorch_model-\d+-of-\d+\.bin"),
    ):
        if single in files:
            return [single]
        if index in files:
            return [index, *(name for name in files if re.fullmatch(shard, name))]
    return []


def missing_shards(folder: Path, weights: Sequence[str]) -> list[str]:
    """Return the weight files that the index of a folder names and that are not there."""
    if not weights[0].endswith(".index.json"):
        return []
    index = json.loads((folder / weights[0]).read_text(encoding="utf-8"))
    return [shard for shard in sorted(set(index["weight_map"].values())) if not (folder / shard).exists()]


def _list_files(repo_id: str) -> list[str]:
    answers: queue.Queue[list[str] | Exception] = queue.Queue()

    def ask() -> None:
        try:
            siblings = HfApi().model_info(repo_id, timeout=ANSWER_TIMEOUT_S).siblings or []
            answers.put([sibling.rfilename for sibling in siblings])
        except Exception as error:  # whatever the HTTP client raises is told to the waiting thread
            answers.put(error)

    # A resolver or a firewall that stays silent is not covered by the HTTP client's timeout
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_TIMEOUT_S)
    except queue.Empty:
        answer = TimeoutError(f"no answer in {ANSWER_TIMEOUT_S:.0f} s")
    if isinstance(answer, RepositoryNotFoundError):
        raise ModelError(f"{repo_id} is not on the Hub", "no such model, or it needs a login") from None
    if isinstance(answer, Exception):
        reason = (str(answer) or type(answer).__name__).splitlines()[0]
        raise ModelError(f"{repo_id} cannot be looked up", f"the Hub cannot be reached: {reason}") from None
    return answer
