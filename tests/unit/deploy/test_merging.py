"""Merging: one model in memory at a time, and a disk that fills up."""

from __future__ import annotations

import errno
import gc
import resource
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from whisper_peft.data.decoding import decode
from whisper_peft.deploy import merging
from whisper_peft.errors import StorageError
from whisper_peft.model.adapters import attach_adapter, save_adapter
from whisper_peft.model.loading import Whisper, load_whisper
from whisper_peft.recipe.sections import AdapterSection, MergeSection, ModelSection
from whisper_peft.types import MergeResult, Utterance

SECTION = ModelSection(name="openai/whisper-tiny.en", device="cpu")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an adapter of tiny.en."""
    whisper = load_whisper(SECTION)
    attach_adapter(whisper, AdapterSection(r=4, targets="attention"), seed=0)
    folder = tmp_path_factory.mktemp("adapter") / "adapter"
    save_adapter(whisper, folder)
    return folder


@pytest.fixture(scope="module")
def clips(prompts_en: list[dict[str, Any]]) -> list[Utterance]:
    row = min(prompts_en, key=lambda row: float(row["duration_s"]))
    return [decode(Utterance("clip", Path(row["file_name"]), row["text"]))]


def merge(adapter: Path, clips: list[Utterance], folder: Path, quantize: str = "none") -> MergeResult:
    section = SECTION.model_copy(update={"quantize": quantize})
    return merging.merge_adapter(adapter, section, clips=clips, output_dir=folder, how=MergeSection())


@pytest.mark.parametrize(("quantize", "loads"), [("none", 2), ("int8", 3)])
def test_a_model_is_loaded_when_the_one_before_has_gone(
    adapter: Path,
    clips: list[Utterance],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quantize: str,
    loads: int,
) -> None:
    loaded: list[weakref.ref[Any]] = []
    alive_at_load: list[int] = []

    def counting(load: Any) -> Any:
        def load_one(*args: Any) -> Whisper:
            alive_at_load.append(sum(ref() is not None for ref in loaded))
            whisper: Whisper = load(*args)
            loaded.append(weakref.ref(whisper.core.model.decoder.embed_tokens.weight))
            return whisper

        return load_one

    for name in ("load_run_or_model", "load_whisper"):
        monkeypatch.setattr(merging, name, counting(getattr(merging, name)))
    gc.disable()  # what only a collection at some later time would free counts as held
    try:
        merge(adapter, clips, tmp_path / "merged", quantize)
    finally:
        gc.enable()
    assert alive_at_load == [0] * loads


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let this process write no file of more than 4 MB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_weights_that_cannot_be_written_are_said_and_leave_nothing(
    adapter: Path, clips: list[Utterance], tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match=r"cannot be written to .*merged - .*File too large.*free some"):
        merge(adapter, clips, tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_leaves_nothing(
    adapter: Path, clips: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(merging, "save_companions", fill)
    with pytest.raises(StorageError, match=r"No space left on device.*--output-dir"):
        merge(adapter, clips, tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []
