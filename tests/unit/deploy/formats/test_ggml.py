"""GGML: what is written is what whisper.cpp expects, and reading gives it back to the bit."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch

from whisper_peft.deploy.formats.ggml import (
    FILE_TYPES,
    FORMAT,
    GGML_FILE,
    keep_ggml,
    read_ggml,
    tensor_type,
    write_ggml,
)
from whisper_peft.errors import ExportError, ModelError
from whisper_peft.model.loading import Whisper, load_whisper
from whisper_peft.recipe.sections import ModelSection

OFFICIAL_F16_BYTES = 77_704_715
"""Size of the published ggml-tiny.en.bin, whose list of tokens has end-of-text too."""


@pytest.fixture(scope="module")
def tiny() -> Whisper:
    whisper = load_whisper(ModelSection(name="openai/whisper-tiny.en", device="cpu", precision="fp32"))
    torch.manual_seed(0)
    with torch.no_grad():  # the published weights are fp16, which fp32 files would not be told from
        for weight in whisper.core.parameters():
            weight.mul_(1 + 1e-5 * torch.rand_like(weight))
    return whisper


@pytest.fixture(scope="module")
def base() -> Whisper:
    return load_whisper(ModelSection(name="openai/whisper-base", device="cpu", precision="fp32"))


@pytest.mark.parametrize("quantization", FORMAT.quantizations)
def test_reading_gives_back_what_was_written(tiny: Whisper, tmp_path: Path, quantization: str) -> None:
    write_ggml(tiny, tmp_path, quantization)
    found, expected = read_ggml(tmp_path), tiny.core.state_dict()
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(found[name], keep_ggml(name, weight, quantization)), name


def test_f32_and_f16_are_the_weights_themselves(tiny: Whisper, tmp_path: Path) -> None:
    for quantization, dtype in (("f32", torch.float32), ("f16", torch.float16)):
        write_ggml(tiny, tmp_path, quantization)
        for name, found in read_ggml(tmp_path).items():
            assert torch.equal(found, tiny.core.state_dict()[name].to(found.dtype)), name
        assert found.dtype == dtype or found.dim() == 1


def test_an_f16_file_is_as_large_as_the_published_one(tiny: Whisper, tmp_path: Path) -> None:
    write_ggml(tiny, tmp_path, "f16")
    end_of_text = 4 + len("<|endoftext|>")
    assert (tmp_path / GGML_FILE).stat().st_size == OFFICIAL_F16_BYTES - end_of_text


def test_multilingual_vocabularies_have_an_empty_token(base: Whisper, tmp_path: Path) -> None:
    write_ggml(base, tmp_path, "q5_0")
    content = (tmp_path / GGML_FILE).read_bytes()
    sizes = struct.unpack("<12i", content[:48])
    assert sizes[1:] == (51_865, 1500, 512, 8, 6, 448, 512, 8, 6, 80, FILE_TYPES["q5_0"])
    place = 48 + 8 + 4 * 80 * 201
    (tokens,) = struct.unpack_from("<i", content, place)
    place, words = place + 4, []
    for _ in range(tokens):
        (length,) = struct.unpack_from("<i", content, place)
        words.append(content[place + 4 : place + 4 + length])
        place += 4 + length
    assert tokens == 50_257
    assert words[220] == b" "  # which whisper.cpp suppresses at the beginning, by these bytes
    assert words[50_256] == b""
    assert "é".encode() in words


def test_vectors_and_positions_are_never_rounded() -> None:
    bias, matrix, convolution = torch.empty(8), torch.empty(8, 8), torch.empty(8, 8, 3)
    assert tensor_type("model.encoder.layer_norm.bias", bias, "q8_0") == "f32"
    assert tensor_type("model.encoder.embed_positions.weight", matrix, "q8_0") == "f32"
    assert tensor_type("model.encoder.conv1.weight", convolution, "q8_0") == "f16"
    assert tensor_type("model.decoder.embed_tokens.weight", matrix, "q8_0") == "q8_0"
    assert tensor_type("model.encoder.conv1.weight", convolution, "f32") == "f32"


def test_a_weight_beyond_fp16_is_refused() -> None:
    with pytest.raises(ExportError, match="65504"):
        keep_ggml("model.encoder.conv1.weight", torch.full((1, 1, 3), 1e6), "f16")


@pytest.mark.parametrize(("damage", "why"), [(slice(0, -1), "ends"), (slice(4, None), "begins with")])
def test_a_damaged_file_is_told(tiny: Whisper, tmp_path: Path, damage: slice, why: str) -> None:
    write_ggml(tiny, tmp_path, "q5_1")
    path = tmp_path / GGML_FILE
    path.write_bytes(path.read_bytes()[damage])
    with pytest.raises(ModelError, match=why):
        read_ggml(tmp_path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_ggml(tmp_path)
