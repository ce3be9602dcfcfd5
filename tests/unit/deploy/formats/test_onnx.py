"""ONNX: the graphs compute what the model computes, at any context, and hold its weights to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch

from whisper_peft.data.audio.decoding import decode
from whisper_peft.deploy.formats.onnx import (
    DECODER_FILE,
    ENCODER_FILE,
    FORMAT,
    LOG_MEL_FILE,
    keep_onnx,
    read_onnx,
    write_onnx,
)
from whisper_peft.deploy.onnx_graphs import dequantize_rows, quantize_rows
from whisper_peft.deploy.runtime_values import RuntimeRequest
from whisper_peft.deploy.runtimes.onnxruntime import OnnxRuntime
from whisper_peft.errors import ModelError
from whisper_peft.model.loading import Whisper, load_whisper
from whisper_peft.model.log_mel import LogMel
from whisper_peft.recipe.sections import ModelSection
from whisper_peft.types import Utterance

REQUEST = RuntimeRequest(clips=(), language=None, task="transcribe")
TOKENS = (50257, 50362, 1, 22, 333, 4444)


@pytest.fixture(scope="module")
def tiny() -> Whisper:
    return load_whisper(ModelSection(name="openai/whisper-tiny.en", device="cpu", precision="fp32"))


@pytest.fixture(scope="module")
def folders(tiny: Whisper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    made = {quantization: tmp_path_factory.mktemp(quantization) for quantization in FORMAT.quantizations}
    for quantization, folder in made.items():
        write_onnx(tiny, folder, quantization)
    return made


@pytest.fixture(scope="module")
def samples(prompts_en: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    waveform, _ = soundfile.read(prompts_en[0]["file_name"], dtype="float32")
    return waveform


@pytest.mark.parametrize("quantization", FORMAT.quantizations)
def test_reading_gives_back_what_was_written(
    tiny: Whisper, folders: dict[str, Path], quantization: str
) -> None:
    found, expected = read_onnx(folders[quantization]), tiny.core.state_dict()
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(found[name], keep_onnx(name, weight, quantization)), name


@pytest.mark.parametrize("file", [LOG_MEL_FILE, ENCODER_FILE, DECODER_FILE])
@pytest.mark.parametrize("quantization", FORMAT.quantizations)
def test_graphs_are_valid(folders: dict[str, Path], quantization: str, file: str) -> None:
    onnx.checker.check_model(str(folders[quantization] / file), full_check=True)


@pytest.mark.parametrize("frames", [None, 150, 300])
def test_logits_are_the_models_at_any_context(
    tiny: Whisper, folders: dict[str, Path], samples: np.ndarray[Any, Any], frames: int | None
) -> None:
    features = LogMel(80)(torch.from_numpy(samples)[None], frames=frames or 3000)
    with torch.no_grad():
        expected = tiny.core.eval()(input_features=features, decoder_input_ids=torch.tensor([TOKENS]))
    found = OnnxRuntime(folders["float32"], REQUEST).logits(samples, frames, TOKENS)
    np.testing.assert_allclose(found, expected.logits[0].numpy(), atol=1e-3)


def test_tokens_one_by_one_give_the_logits_of_all_at_once(
    folders: dict[str, Path], samples: np.ndarray[Any, Any]
) -> None:
    runtime = OnnxRuntime(folders["float32"], REQUEST)
    whole = runtime.logits(samples, 300, TOKENS)
    past, found = runtime._listen(samples, 300), []
    for token in TOKENS:
        logits, past = runtime._step((token,), past)
        found.append(logits[0])
    np.testing.assert_allclose(np.stack(found), whole, atol=1e-3)


def test_the_spectrogram_is_ours(folders: dict[str, Path], samples: np.ndarray[Any, Any]) -> None:
    session = onnxruntime.InferenceSession(folders["float32"] / LOG_MEL_FILE)
    waveform = np.pad(samples, (0, 480_000 - len(samples)))[None]
    (found,) = session.run(None, {"waveform": waveform})
    np.testing.assert_allclose(found, LogMel(80)(torch.from_numpy(waveform)).numpy(), atol=3e-4)


def test_int8_takes_a_third_of_the_disk(folders: dict[str, Path]) -> None:
    sizes = {
        name: sum((folder / file).stat().st_size for file in (ENCODER_FILE, DECODER_FILE))
        for name, folder in folders.items()
    }
    assert sizes["int8"] < sizes["float32"] / 3


def test_rounding_is_within_half_a_step_of_each_row() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    weight[2] = 0
    rows, scales = quantize_rows(weight)
    error = np.abs(dequantize_rows(rows, scales) - weight)
    assert (error <= scales[:, None] / 2 + 1e-7).all()
    assert not error[2].any()


def test_what_comes_out_of_a_gelu_is_not_rounded(folders: dict[str, Path]) -> None:
    for file, layers in ((ENCODER_FILE, 4), (DECODER_FILE, 4)):
        nodes = onnx.load(folders["int8"] / file).graph.node
        exact = [node for node in nodes if node.op_type == "DequantizeLinear"]
        assert [node.input[0] for node in exact] == [
            f"model.{file.split('_')[0]}.layers.{layer}.fc2.weight.T" for layer in range(layers)
        ]


def test_int8_holds_the_same_words_likely(
    folders: dict[str, Path], tiny: Whisper, prompts_en: list[dict[str, Any]]
) -> None:
    runtimes = {name: OnnxRuntime(folders[name], REQUEST) for name in ("float32", "int8")}
    divergences = []
    for row in prompts_en[:6]:
        waveform = decode(Utterance("a", Path(row["file_name"]), row["text"])).waveform
        tokens = [*TOKENS[:2], *tiny.tokenizer.encode(f" {row['text']}", add_special_tokens=False)]
        exact, rounded = (
            torch.from_numpy(runtimes[name].logits(waveform, None, tokens)).log_softmax(dim=-1)
            for name in ("float32", "int8")
        )
        divergences.append((exact.exp() * (exact - rounded)).sum(dim=-1))
    assert torch.cat(divergences).mean() < 0.005


def test_a_damaged_file_is_told(tiny: Whisper, tmp_path: Path) -> None:
    write_onnx(tiny, tmp_path, "int8")
    path = tmp_path / DECODER_FILE
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"decoder_with_past_model\.onnx cannot be read"):
        read_onnx(tmp_path)
