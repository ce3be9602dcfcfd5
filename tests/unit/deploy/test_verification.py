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
from whisper_peft.deploy.weights import read_back, source_weights, weight_faults
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


def rewritten(folder: Path, pattern: str, change: Callable[[Any], Any]) -> list[Path]:
    """Change the JSON files of a name, and return those that were changed."""
    changed_files = []
    for path in sorted(folder.rglob(pattern)):
        before = path.read_text(encoding="utf-8")
        content = json.loads(before)
        change(content)
        if json.loads(before) != content or json.dumps(json.loads(before)) != json.dumps(content):
            path.write_text(json.dumps(content), encoding="utf-8")
            changed_files.append(path)
    return changed_files


def swap_tokens(content: Any) -> None:
    if isinstance(content, list):
        content[1000], content[1001] = content[1001], content[1000]
        return
    tokens = content["model"]["vocab"] if "model" in content else content
    tokens["Ġthe"], tokens["Ġa"] = tokens["Ġa"], tokens["Ġthe"]


def swap_merges(content: Any) -> None:
    merges = content["model"]["merges"]
    merges[0], merges[1] = merges[1], merges[0]


def retype(content: Any) -> None:
    for name in ("suppress_ids", "suppress_tokens"):
        if content.get(name):
            content[name][0] = float(content[name][0])


@pytest.mark.parametrize(
    ("pattern", "change", "said"),
    [
        ("vocab*.json", swap_tokens, "gives 2 of"),
        ("tokenizer.json", swap_tokens, "gives 2 of"),
        ("tokenizer.json", swap_merges, "joins or reads its tokens otherwise"),
        ("*config.json", retype, ".0] too many"),
        ("config.json", lambda content: content.get("lang_ids", []).reverse(), "is in another order"),
        ("preprocessor_config.json", lambda content: content.update(hop_length=161), "is 161 instead of 160"),
        ("generation_config.json", lambda content: content.update(max_length=20), "is 20 instead of 448"),
        ("config.json", lambda content: content.pop("decoder_layers", None), "decoder_layers is missing"),
    ],
    ids=["vocab", "tokens", "merges", "type", "lang_ids", "hop", "max_length", "layers"],
)
def test_one_changed_value_in_any_file_beside_the_weights_is_named(
    exported: Exported, pattern: str, change: Callable[[Any], Any], said: str
) -> None:
    edited = rewritten(exported.folder, pattern, change)
    if not edited:
        pytest.skip(f"{exported.order.folder} has no such file")
    against, recorded = exported.both()
    assert said in against
    assert all(str(path.relative_to(exported.folder)) in against for path in edited)
    assert all(str(path.relative_to(exported.folder)) in recorded for path in edited)


def test_a_field_that_is_named_twice_is_told(exported: Exported) -> None:
    path = next(iter(sorted(exported.folder.rglob("*.json"))))
    if path.name == "export.json":
        pytest.skip(f"{exported.order.folder} has no JSON file of its own")
    text = path.read_text(encoding="utf-8")
    first = text[text.index('"') : text.index(":") + 1]
    path.write_text(text.replace("{", "{" + f"{first} null,", 1), encoding="utf-8")
    assert "twice" in exported.faults(against=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "quantization"),
    [
        *(("ctranslate2", "float32"), ("ggml", "f16"), ("huggingface", "float32"), ("onnx", "float32")),
        *(("openai", "float32"), ("ctranslate2", "int8"), ("ggml", "q8_0"), ("onnx", "int8")),
    ],
)
def test_one_changed_weight_in_any_tensor_is_named(
    source: Source, tmp_path: Path, name: str, quantization: str
) -> None:
    """The largest weight of each tensor in turn, so that no rounding hides it."""
    form, weights = FORMATS[name], source_weights(source.whisper)
    for tensor in weights:

        def change(state: dict[str, Tensor], tensor: str = tensor) -> None:
            flat = state[tensor].view(-1)
            flat[flat.abs().argmax()] *= 1.1

        with changed(source, change) as faulty:
            form.write(faulty.whisper, tmp_path, quantization)
        faults = list(weight_faults(weights, read_back(form, tmp_path, tied=True), form, quantization))
        assert [fault.name for fault in faults] == [tensor]


@pytest.mark.parametrize("quantization", ["q8_0", "q5_0", "q5_1"])
def test_the_scale_of_one_block_is_found_also_where_it_scales_nothing(
    source: Source, tmp_path: Path, quantization: str
) -> None:
    """A block of zeros reads back the same whatever its scale is; its file does not."""

    def clear(state: dict[str, Tensor]) -> None:
        state[LAYER][3] = 0.0

    folder = tmp_path / "export"
    folder.mkdir()
    with changed(source, clear) as cleared:
        exported = write(folder, Order(FORMATS["ggml"], quantization), cleared, cleared)
        path = folder / "ggml-model.bin"
        content = path.read_bytes()
        sizes = {"q8_0": 34, "q5_0": 22, "q5_1": 24}
        begin = content.index(b"decoder.blocks.1.cross_attn.value.weight") + 40
        for row in (3, 5):
            place = begin + row * 2 * sizes[quantization]
            assert exported.both() == ["", ""]
            path.write_bytes(content[: place + 1] + bytes([content[place + 1] ^ 4]) + content[place + 2 :])
            assert all(exported.both())
            assert LAYER in exported.faults(against=True) or row == 3
            path.write_bytes(content)


def test_a_changed_constant_of_a_graph_is_found(
    original: Callable[[str, str], Exported], tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    for name in ("log_mel_model.onnx", "encoder_model.onnx"):
        folder = tmp_path / name
        kept = original("onnx", "int8")
        shutil.copytree(kept.folder, folder)
        graph = onnx.load(folder / name)
        constant = max(
            (one for one in graph.graph.initializer if not one.name.endswith(("weight", "bias"))),
            key=lambda one: len(one.raw_data),
        )
        values = onnx.numpy_helper.to_array(constant).copy()
        values.reshape(-1)[7] += 1
        constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))
        onnx.save_model(graph, folder / name)
        assert all(replace(kept, folder=folder).both())


def test_a_refused_export_that_was_given_its_name_is_still_refused(exported: Exported) -> None:
    refused = replace(exported, record=replace(exported.record, refused="its WER is 90 %"))
    assert all(said == "the export was refused: its WER is 90 %" for said in refused.both())
