"""Runtimes: each loads what we write and hears what our model hears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whisper_peft.data.audio.decoding import decode
from whisper_peft.deploy import parity
from whisper_peft.deploy.export_values import Reference
from whisper_peft.deploy.formats import FORMATS
from whisper_peft.deploy.parity import measure, measure_model
from whisper_peft.deploy.reference import take_reference
from whisper_peft.errors import ExportError
from whisper_peft.model.loading import Whisper, load_whisper
from whisper_peft.recipe.sections import ModelSection
from whisper_peft.types import Utterance

MODEL = "openai/whisper-tiny.en"

FLOATS = [("ggml", "f16"), ("onnx", "float32"), ("ctranslate2", "float32"), ("openai", "float32")]


@pytest.fixture(scope="module")
def tiny() -> Whisper:
    return load_whisper(ModelSection(name=MODEL, device="cpu", precision="fp32"))


@pytest.fixture(scope="module")
def reference(tiny: Whisper, prompts_en: list[dict[str, Any]]) -> Reference:
    rows = sorted(prompts_en, key=lambda row: float(row["duration_s"]))[:3]
    clips = [decode(Utterance(row["text"], Path(row["file_name"]), row["text"])) for row in rows]
    return take_reference(tiny, clips, language=None, task="transcribe", normalizer="auto")


def _written(tiny: Whisper, folder: Path, name: str, quantization: str) -> Path:
    FORMATS[name].write(tiny, folder, quantization)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("name", "quantization"), [*FLOATS, ("huggingface", "float32")])
def test_every_runtime_writes_what_the_model_writes(
    tiny: Whisper, reference: Reference, tmp_path: Path, name: str, quantization: str
) -> None:
    row = measure(_written(tiny, tmp_path, name, quantization), FORMATS[name], quantization, reference)
    assert row.differing == ()
    assert row.equal == 1.0
    assert row.max_logit_difference is None or row.max_logit_difference < 1e-3
    assert row.runtime_version
    assert min(row.load_s, row.rtfx, row.peak_memory_bytes, row.size_bytes) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "quantization"), [("ggml", "f16"), ("onnx", "float32")])
def test_at_short_context_nothing_behind_it_is_heard(
    tiny: Whisper,
    prompts_en: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    quantization: str,
) -> None:
    row = max(prompts_en, key=lambda row: len(row["text"]))
    clip = decode(Utterance("longest", Path(row["file_name"]), row["text"]))
    reference = take_reference(tiny, [clip], language=None, task="transcribe", normalizer="auto")
    folder = _written(tiny, tmp_path, name, quantization)
    assert measure(folder, FORMATS[name], quantization, reference).equal == 1.0
    monkeypatch.setattr(parity, "context_frames", lambda seconds: 200)
    short = measure(folder, FORMATS[name], quantization, reference, short_context=True)
    assert short.context == "short"
    (heard,) = short.differing
    assert clip.text.split()[0].lower() in heard.found.lower()
    assert clip.text.split()[-1].lower() not in heard.found.lower()


@pytest.mark.slow
def test_the_model_itself_is_a_row_like_the_others(reference: Reference) -> None:
    row = measure_model(MODEL, reference)
    assert (row.format, row.runtime, row.differing) == ("model", "whisper-peft", ())


@pytest.mark.parametrize("name", ["ctranslate2", "openai", "huggingface"])
def test_a_runtime_without_an_audio_context_says_so(reference: Reference, tmp_path: Path, name: str) -> None:
    form = FORMATS[name]
    with pytest.raises(ExportError, match="always hears 30 s"):
        measure(tmp_path, form, form.quantizations[0], reference, short_context=True)


def test_whisper_cpp_says_why_it_takes_no_fp32(tiny: Whisper, reference: Reference, tmp_path: Path) -> None:
    folder = _written(tiny, tmp_path, "ggml", "f32")
    with pytest.raises(ExportError, match="convolution"):
        measure(folder, FORMATS["ggml"], "f32", reference)
