"""Planted faults: each one is found, and told by its tensor, its file or its field."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from whisper_peft.deploy.export_record import ExportRecord, file_digests, tensor_digests, write_record
from whisper_peft.deploy.exporting import Order, Source
from whisper_peft.deploy.formats import FORMATS
from whisper_peft.deploy.verification import verify_folder
from whisper_peft.deploy.weights import read_back
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import ModelSection

QUICK = [("ctranslate2", "int8"), ("huggingface", "float32"), ("openai", "float16")]
SLOW = [
    ("ctranslate2", "float16"),
    ("ggml", "f16"),
    ("ggml", "q5_0"),
    ("onnx", "float32"),
    ("vllm", "float16"),
]
ORDERS = [*map(pytest.param, QUICK), *(pytest.param(order, marks=pytest.mark.slow) for order in SLOW)]
WEIGHTS = {
    "ctranslate2": "model.bin",
    "ggml": "ggml-model.bin",
    "huggingface": "model.safetensors",
    "onnx": "decoder_with_past_model.onnx",
    "openai": "model.pt",
    "vllm": "merged/model.safetensors",
}
LAYER = "model.decoder.layers.1.encoder_attn.v_proj.weight"


@dataclass
class Exported:
    """An export of a narrow model, of which each test has a copy."""

    folder: Path
    order: Order
    record: ExportRecord
    source: Source

    def faults(self, *, against: bool) -> str:
        source = self.source if against else None
        found = verify_folder(self.folder, self.order, self.record, source, ModelSection(device="cpu"))
        return "\n".join(found.faults)

    def both(self) -> list[str]:
        return [self.faults(against=True), self.faults(against=False)]


@pytest.fixture(scope="module")
def source(narrow_whisper: Callable[[int, int], Whisper]) -> Source:
    return Source(narrow_whisper(51_865, 80), "narrow", adapter=None, base=None, short_context=False)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, source: Source) -> Callable[[str, str], Exported]:
    """Return a maker of exports, each made once."""
    made: dict[tuple[str, str], Exported] = {}

    def make(name: str, quantization: str) -> Exported:
        if (name, quantization) not in made:
            folder = tmp_path_factory.mktemp(f"{name}-{quantization}")
            made[name, quantization] = write(folder, Order(FORMATS[name], quantization), source, source)
        return made[name, quantization]

    return make


def write(folder: Path, order: Order, written: Source, source: Source) -> Exported:
    order.form.write(written.whisper, folder, order.quantization)
    tensors = tensor_digests(read_back(order.form, folder, tied=True))
    record = ExportRecord(
        order.form.name, order.quantization, "narrow", None, {}, tensors, file_digests(folder)
    )
    write_record(record, folder)
    return Exported(folder, order, record, source)


@pytest.fixture(params=ORDERS, ids="-".join)
def exported(request: Any, original: Callable[[str, str], Exported], tmp_path: Path) -> Exported:
    kept = original(*request.param)
    folder = tmp_path / "export"
    shutil.copytree(kept.folder, folder)
    return replace(kept, folder=folder)


@pytest.fixture
def other(narrow_whisper: Callable[[int, int], Whisper]) -> Whisper:
    return narrow_whisper(51_864, 80)


@contextmanager
def changed(source: Source, change: Callable[[dict[str, Tensor]], None]) -> Iterator[Source]:
    """Change the weights of the model, and put them back."""
    state = source.whisper.core.state_dict()
    kept = {name: weight.clone() for name, weight in state.items()}
    try:
        with torch.no_grad():
            change(state)
        yield source
    finally:
        source.whisper.core.load_state_dict(kept)


def test_a_sound_export_has_no_fault(exported: Exported) -> None:
    assert exported.both() == ["", ""]


def test_one_changed_weight_is_named_though_it_was_written_so(exported: Exported, tmp_path: Path) -> None:
    def change(state: dict[str, Tensor]) -> None:
        state[LAYER][3, 5] += 1.0

    with changed(exported.source, change) as faulty:
        folder = tmp_path / "faulty"
        folder.mkdir()
        forged = write(folder, exported.order, faulty, exported.source)
    assert forged.faults(against=False) == ""  # its record tells what was written
    first = forged.faults(against=True).splitlines()[0]
    assert first.startswith(f"{LAYER} differs in")


def test_swapped_layers_are_told_apart(exported: Exported, tmp_path: Path) -> None:
    def swap(state: dict[str, Tensor]) -> None:
        for name in [name for name in state if "decoder.layers.0." in name]:
            twin = name.replace("layers.0.", "layers.1.")
            kept = state[name].clone()
            state[name].copy_(state[twin])
            state[twin].copy_(kept)

    with changed(exported.source, swap) as faulty:
        folder = tmp_path / "faulty"
        folder.mkdir()
        forged = write(folder, exported.order, faulty, exported.source)
    twin = LAYER.replace("layers.1.", "layers.0.")
    assert f"{twin} holds what belongs to {LAYER}" in forged.faults(against=True)


def test_any_flipped_bit_is_found(exported: Exported) -> None:
    path = exported.folder / WEIGHTS[exported.order.form.name]
    content, draw = path.read_bytes(), random.Random(0)
    for place in [0, len(content) - 1, *(draw.randrange(len(content)) for _ in range(3))]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        assert exported.faults(against=False), f"byte {place}"
    assert exported.faults(against=True), f"byte {place}"


def test_a_truncated_file_is_found(exported: Exported) -> None:
    path = exported.folder / WEIGHTS[exported.order.form.name]
    path.write_bytes(path.read_bytes()[:-1000])
    assert all(exported.both())


def test_a_file_too_many_and_one_too_few_are_named(exported: Exported) -> None:
    (exported.folder / "pytorch_model.bin").write_bytes(b"x")
    assert all("pytorch_model.bin does not belong there" in said for said in exported.both())
    missing = exported.folder / WEIGHTS[exported.order.form.name]
    missing.unlink()
    assert all(f"{missing.relative_to(exported.folder)} is missing" in said for said in exported.both())


def test_a_tokenizer_of_another_model_is_found(exported: Exported, other: Whisper, tmp_path: Path) -> None:
    """That of English-only models beside multilingual weights."""
    companions = exported.source.whisper.companions
    kept, companions.tokenizer = companions.tokenizer, other.tokenizer
    folder = tmp_path / "faulty"
    folder.mkdir()
    try:
        if exported.order.form.name == "ctranslate2":  # which would not write it
            shutil.copytree(exported.folder, folder, dirs_exist_ok=True)
            (folder / "tokenizer.json").write_text(
                other.tokenizer.backend_tokenizer.to_str(), encoding="utf-8"
            )
        else:
            exported.order.form.write(exported.source.whisper, folder, exported.order.quantization)
    finally:
        companions.tokenizer = kept
    said = replace(exported, folder=folder).faults(against=True)
    assert "vocabulary lacks" in said if exported.order.form.name == "ggml" else "another model" in said


@pytest.mark.parametrize("field", ["suppress_tokens", "alignment_heads"])
def test_dropped_settings_are_named(exported: Exported, field: str) -> None:
    names = (field, {"suppress_tokens": "suppress_ids"}.get(field, field))
    found = 0
    for path in exported.folder.rglob("*config.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        name = next((name for name in names if isinstance(content.get(name), list)), None)
        if name is None:
            continue
        found += 1
        dropped = content[name].pop()
        path.write_text(json.dumps(content), encoding="utf-8")
        lacks = f"{path.relative_to(exported.folder)}: {name} lacks {json.dumps([dropped])}"
        assert lacks in exported.faults(against=True)
        del content[name]
        path.write_text(json.dumps(content), encoding="utf-8")
        assert f"{name} is missing" in exported.faults(against=True)
        assert path.name in exported.faults(against=False)
    has_settings = exported.order.form.name not in (
        "ggml",
        "openai",
    )  # whose runtimes have lists of their own
    assert bool(found) == has_settings


def test_alignment_heads_in_a_pt_file_are_compared(
    original: Callable[[str, str], Exported], tmp_path: Path
) -> None:
    kept = original("openai", "float16")
    shutil.copytree(kept.folder, tmp_path / "export")
    path = tmp_path / "export" / "model.pt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["alignment_heads"]
    torch.save(checkpoint, path)
    said = replace(kept, folder=tmp_path / "export").faults(against=True)
    assert said == "alignment_heads is missing"
