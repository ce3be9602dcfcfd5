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
import torch
from safetensors.torch import load_file

from whisper_peft.data.audio.decoding import decode
from whisper_peft.deploy import dequantized_base, merging
from whisper_peft.deploy.dequantized_base import as_trained, dequantized_state
from whisper_peft.errors import MergeError, StorageError
from whisper_peft.model.adapters.attaching import attach_adapter, save_adapter
from whisper_peft.model.loading import Whisper, load_whisper
from whisper_peft.pipeline.runs.contradictions import refuse_contradictions
from whisper_peft.recipe.sections import AdapterSection, MergeSection, ModelSection, Recipe
from whisper_peft.reporting.verdict import merge_sentence
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


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an adapter of tiny.en that has learned something."""
    whisper = load_whisper(SECTION)
    attach_adapter(whisper, AdapterSection(r=4, targets="all-linear"), seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in whisper.model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.01)
    folder = tmp_path_factory.mktemp("tuned") / "adapter"
    save_adapter(whisper, folder)
    return folder


def merge_as(
    tuned: Path, clips: list[Utterance], folder: Path, quantize: str, **how: Any
) -> tuple[MergeResult, dict[str, torch.Tensor]]:
    section = SECTION.model_copy(update={"quantize": quantize})
    result = merging.merge_adapter(tuned, section, clips=clips, output_dir=folder, how=MergeSection(**how))
    return result, load_file(folder / "model.safetensors")


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
def test_merged_into_the_dequantised_base_is_the_model_as_it_was_trained(
    tuned: Path, clips: list[Utterance], tmp_path: Path, quantize: str
) -> None:
    other, _ = merge_as(tuned, clips, tmp_path / "float", quantize)
    exact, _ = merge_as(tuned, clips, tmp_path / "dequantized", quantize, base="dequantized")
    assert (exact.base, exact.quantized_transcripts_equal) == ("dequantized", 1.0)
    assert (exact.quantized_max_logit_difference or 1.0) < 1e-3
    assert (other.quantized_max_logit_difference or 0.0) > 0.05
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dequantized", "float"]


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
def test_the_dequantised_weights_are_those_that_bitsandbytes_multiplies_with(quantize: str) -> None:
    whisper = load_whisper(SECTION.model_copy(update={"quantize": quantize}))
    layer = whisper.core.model.encoder.layers[1].fc1
    unit = torch.eye(384)
    with as_trained(whisper), torch.no_grad():
        rows = layer(unit) - layer(torch.zeros(1, 384))
    weight = dequantized_state(whisper.core)["model.encoder.layers.1.fc1.weight"]
    assert torch.allclose(rows, weight.T, atol=1e-5)
    assert not torch.equal(weight, load_whisper(SECTION).core.model.encoder.layers[1].fc1.weight)


def test_a_wrong_dequantisation_is_refused(
    tuned: Path, clips: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = dequantized_base.dequantized
    monkeypatch.setattr(dequantized_base, "dequantized", lambda layer: right(layer) * 1.01)
    with pytest.raises(MergeError, match=r"from the model's as it was trained - .*--base float"):
        merge_as(tuned, clips, tmp_path / "merged", "nf4", base="dequantized")
    assert list(tmp_path.iterdir()) == []


def test_there_is_nothing_to_dequantise_without_quantisation(
    tuned: Path, clips: list[Utterance], tmp_path: Path
) -> None:
    with pytest.raises(MergeError, match=r"merge\.base is dequantized and model\.quantize is none"):
        merge_as(tuned, clips, tmp_path / "merged", "none", base="dequantized")
    with pytest.raises(MergeError, match="--base float"):
        refuse_contradictions(Recipe(merge=MergeSection(base="dequantized")))


def test_a_merge_at_a_scale_adds_that_part_of_the_update(
    tuned: Path, clips: list[Utterance], tmp_path: Path
) -> None:
    _, base = merge_as(tuned, clips, tmp_path / "base", "none", scale=0.0)
    part, some = merge_as(tuned, clips, tmp_path / "part", "none", scale=0.7)
    _, whole = merge_as(tuned, clips, tmp_path / "whole", "none")
    assert part.scale == 0.7
    assert part.max_logit_difference < 0.05
    for name, weight in whole.items():
        assert torch.allclose(some[name] - base[name], 0.7 * (weight - base[name]), atol=1e-6), name
    name = "model.decoder.layers.0.fc2.weight"
    assert float((whole[name] - base[name]).abs().max()) > 1e-3
    assert "the update at 0.7 of its size" in merge_sentence(part)
