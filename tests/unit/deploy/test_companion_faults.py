"""What an export tells beside its weights is the model's own, whatever its writer wrote."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from whisper_peft.deploy.companion_faults import companion_faults
from whisper_peft.deploy.export_values import Reference, Tolerance
from whisper_peft.deploy.exporting import Order, Proof, Source, export_one
from whisper_peft.deploy.formats import FORMATS
from whisper_peft.model.loading import Whisper

EVERY = [("ctranslate2", "int8"), ("ggml", "f16"), ("huggingface", "float16"), ("onnx", "int8")]
EVERY += [("openai", "float16"), ("vllm", "float16")]
PROOF = Proof(Reference((), "en", "transcribe", "english", (), (), ()), 0.1, Tolerance(), 1)

Edit = Callable[[Path], None]


def json_edit(name: str, change: Callable[[Any], object]) -> Edit:
    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        change(content)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    return edit


def swap(tokens: dict[str, int]) -> None:
    tokens["Ġthe"], tokens["Ġa"] = tokens["Ġa"], tokens["Ġthe"]


def reverse_merges(folder: Path) -> None:
    path = folder / "merges.txt"
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[1], lines[2] = lines[2], lines[1]
    path.write_text("\n".join(lines), encoding="utf-8")


def pt_edit(change: Callable[[dict[str, Any]], object]) -> Edit:
    def edit(folder: Path) -> None:
        checkpoint = torch.load(folder / "model.pt", weights_only=True)
        change(checkpoint)
        torch.save(checkpoint, folder / "model.pt")

    return edit


def ggml_edit(change: Callable[[bytearray], bytearray]) -> Edit:
    def edit(folder: Path) -> None:
        path = folder / "ggml-model.bin"
        path.write_bytes(change(bytearray(path.read_bytes())))

    return edit


def other_filter(content: bytearray) -> bytearray:
    place = 4 * (1 + 11 + 2) + 4 * 1000
    (value,) = struct.unpack_from("<f", content, place)
    struct.pack_into("<f", content, place, float(np.nextafter(np.float32(value), np.float32(1))))
    return content


def other_token(content: bytearray) -> bytearray:
    the = struct.pack("<i", 4) + b" the"
    return content.replace(the, struct.pack("<i", 4) + b" thq", 1)


def other_heads(content: bytearray) -> bytearray:
    struct.pack_into("<i", content, 4 * 4, 4)
    return content


FAULTS: list[tuple[str, str, Edit, str]] = [
    ("ctranslate2", "int8", json_edit("config.json", lambda c: c["suppress_ids"].remove(7)), "lacks [7]"),
    ("ctranslate2", "int8", json_edit("config.json", lambda c: c.pop("alignment_heads")), "is missing"),
    ("ctranslate2", "int8", json_edit("config.json", lambda c: c["lang_ids"].pop()), "lang_ids lacks"),
    ("ctranslate2", "int8", json_edit("vocabulary.json", lambda c: c.reverse()), "tokens differs in"),
    ("ctranslate2", "int8", json_edit("tokenizer.json", lambda c: swap(c["model"]["vocab"])), "in 2 of"),
    ("huggingface", "float16", json_edit("vocab.json", swap), "vocab.json: tokens differs in 2 of"),
    ("huggingface", "float16", reverse_merges, "merges.txt: merges is in another order"),
    (
        "huggingface",
        "float16",
        json_edit("generation_config.json", lambda c: c.update(max_length=20)),
        "generation_config.json: max_length is 20 instead of 448",
    ),
    (
        "onnx",
        "int8",
        json_edit("preprocessor_config.json", lambda c: c.update(feature_size=128)),
        "feature_size is 128 instead of 80",
    ),
    ("openai", "float16", pt_edit(lambda c: c.pop("alignment_heads")), "alignment_heads is missing"),
    ("openai", "float16", pt_edit(lambda c: c["dims"].update(n_text_ctx=447)), "447 instead of 448"),
    ("ggml", "f16", ggml_edit(other_filter), "mel filters has"),
    ("ggml", "f16", ggml_edit(other_token), '["Ġthe", "Ġthq"]'),
    ("ggml", "f16", ggml_edit(other_heads), "n_audio_head is 4 instead of 2"),
]


@pytest.fixture(scope="module")
def source(narrow_whisper: Callable[[int, int], Whisper]) -> Source:
    return Source(narrow_whisper(51_865, 80), "narrow", adapter=None, base=None, short_context=False)


@pytest.mark.parametrize(("name", "quantization"), EVERY)
@pytest.mark.parametrize("vocab_size", [51_864, 51_865])
def test_what_each_format_tells_is_what_the_model_tells(
    narrow_whisper: Callable[[int, int], Whisper],
    tmp_path: Path,
    name: str,
    quantization: str,
    vocab_size: int,
) -> None:
    form, whisper = FORMATS[name], narrow_whisper(vocab_size, 80)
    assert form.read_companions is not None
    form.write(whisper, tmp_path, quantization)
    assert companion_faults(whisper, form.read_companions(tmp_path)) == []


@pytest.mark.parametrize(("name", "quantization", "edit", "said"), FAULTS, ids=[fault[3] for fault in FAULTS])
def test_a_fault_of_the_writer_beside_the_weights_is_refused_before_the_runtime_is_asked(
    source: Source, tmp_path: Path, name: str, quantization: str, edit: Edit, said: str
) -> None:
    form = FORMATS[name]

    def write(whisper: Whisper, folder: Path, quantization: str) -> None:
        form.write(whisper, folder, quantization)
        edit(folder)

    made = export_one(Order(replace(form, write=write), quantization), source, PROOF, tmp_path)
    assert made.rows == ()
    assert made.problem is not None
    assert said in made.problem


def test_a_companion_that_cannot_be_read_is_refused(source: Source, tmp_path: Path) -> None:
    form = FORMATS["huggingface"]

    def write(whisper: Whisper, folder: Path, quantization: str) -> None:
        form.write(whisper, folder, quantization)
        (folder / "tokenizer.json").unlink()

    made = export_one(Order(replace(form, write=write), "float16"), source, PROOF, tmp_path)
    assert "cannot be read: FileNotFoundError" in str(made.problem)
