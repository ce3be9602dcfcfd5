"""The order of work for one folder: what is accepted, what is set aside, and what is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from whisper_peft.deploy import exporting
from whisper_peft.deploy.export_record import file_digests, read_record
from whisper_peft.deploy.export_values import Reference, Tolerance
from whisper_peft.deploy.exporting import Order, Proof, Source, export_one, fold, refuse_used
from whisper_peft.deploy.formats import FORMATS
from whisper_peft.deploy.reference import logits_at, refuse_unlike
from whisper_peft.deploy.weights import source_weights
from whisper_peft.errors import ExportError, StorageError
from whisper_peft.export_types import ParityRow
from whisper_peft.model.adapters.attaching import attach_adapter, save_adapter
from whisper_peft.model.loading import Whisper, load_run_or_model, load_whisper
from whisper_peft.recipe.sections import AdapterSection, ModelSection
from whisper_peft.types import Utterance

ROW = ParityRow("", "", "stub", "1", "", 1, 0.1, 1, 10.0, 0.10, 1.0, (), None, None, 0.0, (0.0, 0.0))
CLIP = Utterance("clip", np.zeros(16_000, np.float32), "text", sampling_rate=16_000)
PROOF = Proof(Reference((CLIP,), "en", "transcribe", "english", ("text",), (), ()), 0.10, Tolerance(), 1)


@pytest.fixture
def source(narrow_whisper: Callable[[int, int], Whisper]) -> Source:
    return Source(narrow_whisper(51_865, 80), "narrow", adapter=None, base=None, short_context=False)


def order(name: str, quantization: str) -> Order:
    return Order(FORMATS[name], quantization)


def measured(monkeypatch: pytest.MonkeyPatch, **fields: object) -> None:
    def stub(folder: Path, *asked: object, **settings: object) -> ParityRow:
        assert folder.name.startswith(".partial-")  # nothing has its name before it is accepted
        return replace(ROW, **fields)

    monkeypatch.setattr(exporting, "measure", stub)


def test_an_accepted_export_has_its_name_and_its_record(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch, equal=0.95)
    made = export_one(order("huggingface", "float16"), source, PROOF, tmp_path)
    assert made.problem is None
    assert [path.name for path in tmp_path.iterdir()] == ["huggingface-float16"]
    assert made.rows[0].folder == str(made.folder)
    assert made.rows[0].weights_identical is True
    record = read_record(made.folder)
    assert record is not None
    assert (record.format, record.quantization, record.source) == ("huggingface", "float16", "narrow")
    assert record.files == file_digests(made.folder)
    assert record.tensors.keys() == source_weights(source.whisper).keys()


@pytest.mark.parametrize(
    ("name", "quantization", "fields", "said"),
    [
        ("huggingface", "float16", {"equal": 0.94}, "94.0 % of its transcripts equal the model's"),
        ("ctranslate2", "int8", {"wer": 0.106}, "its WER is 10.60 % and the model's 10.00 %"),
    ],
)
def test_an_export_past_the_tolerance_is_kept_aside(
    source: Source,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    quantization: str,
    fields: dict[str, float],
    said: str,
) -> None:
    measured(monkeypatch, **fields)
    made = export_one(order(name, quantization), source, PROOF, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"refused-{name}-{quantization}"]
    assert made.problem is not None
    assert said in made.problem
    assert made.rows[0].refused == made.problem
    assert json.loads((made.folder / "export.json").read_text(encoding="utf-8"))["refused"] == made.problem


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((-0.002, 0.015), "is -0.20 to +1.50 points: it may be chance, and more clips tell better"),
        ((0.001, 0.015), "is +0.10 to +1.50 points"),
    ],
)
def test_a_refused_rate_says_how_sure_its_change_is(
    source: Source,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interval: tuple[float, float],
    said: str,
) -> None:
    measured(monkeypatch, wer=0.106, wer_change_interval=interval)
    made = export_one(order("ctranslate2", "int8"), source, PROOF, tmp_path)
    assert made.problem is not None
    assert made.problem.endswith(said)


def test_a_rounded_format_may_write_otherwise_as_long_as_its_wer_holds(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(monkeypatch, equal=0.5, wer=0.104)
    assert export_one(order("ctranslate2", "int8"), source, PROOF, tmp_path).problem is None


def test_a_fault_of_the_writer_is_found_before_the_runtime_is_asked(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = FORMATS["huggingface"]

    def write(whisper: Whisper, folder: Path, quantization: str) -> None:
        bias = whisper.core.model.decoder.layers[1].fc2.bias
        kept = bias.detach().clone()
        with torch.no_grad():
            bias[7] += 1
            form.write(whisper, folder, quantization)
            bias.copy_(kept)

    faulty = Order(replace(form, write=write), "float32")
    made = export_one(faulty, source, PROOF, tmp_path)
    assert made.rows == ()
    assert made.problem is not None
    assert "model.decoder.layers.1.fc2.bias differs in 1 of 64 values, first at [7]" in made.problem


def test_a_runtime_that_fails_sets_its_export_aside(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*asked: object, **settings: object) -> ParityRow:
        raise ExportError("the runtime crashed", "a signal")

    monkeypatch.setattr(exporting, "measure", crash)
    made = export_one(order("openai", "float16"), source, PROOF, tmp_path)
    assert made.folder.name == "refused-openai-float16"
    assert made.problem == "the runtime crashed - a signal"


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(StorageError, match="never overwrites"):
        refuse_used(tmp_path)


def tuned_by_chance(
    narrow_whisper: Callable[[int, int], Whisper], spread: float
) -> tuple[ModelSection, Whisper]:
    """Return a base and itself with a LoRA whose update was drawn instead of learned."""
    section = ModelSection(
        name=str(narrow_whisper(51_865, 80).checkpoint.path), device="cpu", precision="fp32"
    )
    tuned = load_whisper(section)
    attach_adapter(tuned, AdapterSection(r=4, targets="attention"), seed=0)
    with torch.no_grad():
        for name, weight in tuned.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=spread)
    return section, tuned


def test_an_export_without_its_adapter_is_told_so(
    narrow_whisper: Callable[[int, int], Whisper], tmp_path: Path
) -> None:
    from whisper_peft.deploy.verification import verify_folder

    section, tuned = tuned_by_chance(narrow_whisper, 0.1)
    save_adapter(tuned, tmp_path / "adapter")
    whole = fold(load_run_or_model(str(tmp_path / "adapter"), section))
    source = Source(whole, "tuned", tmp_path / "adapter", section.name, short_context=False)
    folder = tmp_path / "export"
    folder.mkdir()
    ct2 = order("ctranslate2", "int8")
    ct2.form.write(narrow_whisper(51_865, 80), folder, "int8")
    found = verify_folder(folder, ct2, None, source, section)
    assert found.faults == (f"the weights are those of {section.name}: the adapter is not applied",)
    ct2.form.write(whole, folder, "int8")
    assert verify_folder(folder, ct2, None, source, section).faults == ()


def test_a_model_that_was_folded_without_its_adapter_is_not_exported(
    narrow_whisper: Callable[[int, int], Whisper], tmp_path: Path
) -> None:
    _, tuned = tuned_by_chance(narrow_whisper, 0.05)
    tokens = (50_258, 50_259, 50_359, 50_363, 440)
    heard = (logits_at(tuned, CLIP, tokens),)
    reference = Reference((CLIP,), "en", "transcribe", "english", ("",), (tokens,), heard)
    with pytest.raises(ExportError, match="the adapter was not applied"):
        refuse_unlike(narrow_whisper(51_865, 80), reference)
    refuse_unlike(fold(tuned), reference)


@pytest.mark.slow
def test_a_model_goes_through_its_runtimes(tmp_path: Path, root: Path) -> None:
    import whisper_peft

    pytest.importorskip("faster_whisper")
    speech: dict[str, Any] = {"source": root / "tests/data/prompts/en", "eval": "test"}
    folder = tmp_path / "exports"
    result = whisper_peft.export(
        "openai/whisper-tiny.en", format=["ctranslate2"], output_dir=folder, clips=3, data=speech
    )
    assert [Path(one).name for one in result.exported] == ["ctranslate2-float16"]
    assert [row.equal for row in result.table.rows] == [1.0, 1.0]
    assert (folder / "parity.html").is_file()
    (sound,) = whisper_peft.verify(folder, against="openai/whisper-tiny.en")
    assert sound.faults == ()
