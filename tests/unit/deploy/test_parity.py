"""Parity: what a runtime's process says, and what it says when it fails."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from whisper_peft.deploy import parity
from whisper_peft.deploy.export_values import Reference
from whisper_peft.deploy.formats import FORMATS
from whisper_peft.deploy.parity import differing_transcripts, measure, scores
from whisper_peft.deploy.runtime_values import RuntimeAnswer, RuntimeRequest
from whisper_peft.deploy.runtimes import RUNTIMES, RuntimeKind
from whisper_peft.errors import ExportError
from whisper_peft.export_types import DifferingTranscript
from whisper_peft.types import Utterance


@pytest.fixture
def reference() -> Reference:
    clips = tuple(
        Utterance(name, np.zeros(8000, np.float32), text, sampling_rate=16_000)
        for name, text in (("a", "press pound"), ("b", "hang up"))
    )
    logits = (torch.zeros(2, 3), torch.zeros(1, 3))
    return Reference(clips, None, "transcribe", "english", ("Press pound.", "Hang."), ((1, 2), (1,)), logits)


def _play(
    monkeypatch: pytest.MonkeyPatch, code: int, stderr: str = "", answer: RuntimeAnswer | None = None
) -> None:
    """Let a process end so instead of running one."""

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        assert command[:3] == [sys.executable, "-m", "whisper_peft.deploy.runtimes"]
        if answer is not None:
            logits = Path(command[-1]).with_name("logits.npz")
            np.savez(logits, np.full((2, 3), 0.25, np.float32), np.full((1, 3), -0.5, np.float32))
            plain = {**answer.to_dict(), "logits": str(logits)}
            Path(command[-1]).write_text(json.dumps(plain), encoding="utf-8")
        return subprocess.CompletedProcess(command, code, b"", stderr.encode())

    monkeypatch.setattr(subprocess, "run", run)


def test_a_row_holds_what_the_process_answered(
    monkeypatch: pytest.MonkeyPatch, reference: Reference, tmp_path: Path
) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(1000))
    _play(monkeypatch, 0, answer=RuntimeAnswer("onnxruntime", "1", ("Press pound.", "Hang up."), 0.5, 2.0, 7))
    row = measure(tmp_path, FORMATS["onnx"], "float32", reference)
    assert (row.size_bytes, row.rtfx, row.equal, row.peak_memory_bytes) == (1000, 0.5, 0.5, 7)
    assert row.differing == (DifferingTranscript("b", "Hang.", "Hang up."),)
    assert row.max_logit_difference == 0.5
    assert (row.wer, row.context, row.weights_identical) == (0.0, "30 s", None)


def test_a_crash_is_told_by_its_signal(
    monkeypatch: pytest.MonkeyPatch, reference: Reference, tmp_path: Path
) -> None:
    _play(monkeypatch, -signal.SIGSEGV, "loading\nops.cpp: assertion failed\n")
    with pytest.raises(ExportError, match=r"whisper_cpp crashed \(SIGSEGV\).*assertion failed"):
        measure(tmp_path, FORMATS["ggml"], "f16", reference)


def test_a_failure_is_told_by_the_last_line(
    monkeypatch: pytest.MonkeyPatch, reference: Reference, tmp_path: Path
) -> None:
    _play(monkeypatch, 1, "Traceback\n  File ...\nRuntimeError: no model here\n")
    with pytest.raises(ExportError, match=r"onnxruntime failed.*RuntimeError: no model here"):
        measure(tmp_path, FORMATS["onnx"], "float32", reference)


def test_a_process_that_hangs_is_stopped(
    monkeypatch: pytest.MonkeyPatch, reference: Reference, tmp_path: Path
) -> None:
    def hang(command: list[str], *, timeout: float, **options: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(ExportError, match="did not answer within"):
        measure(tmp_path, FORMATS["onnx"], "float32", reference)


def test_a_real_process_tells_what_is_missing(reference: Reference, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="onnxruntime failed"):
        measure(tmp_path / "nowhere", FORMATS["onnx"], "float32", reference)


def test_a_missing_library_is_told_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, reference: Reference, tmp_path: Path
) -> None:
    kind = RuntimeKind(("not_installed_anywhere",), "whisper-peft[onnx]")
    monkeypatch.setattr(parity, "RUNTIMES", {**RUNTIMES, "onnxruntime": kind})
    with pytest.raises(ExportError, match=r'pip install "whisper-peft\[onnx\]"'):
        measure(tmp_path, FORMATS["onnx"], "float32", reference)


def test_transcripts_are_compared_character_for_character(reference: Reference) -> None:
    assert differing_transcripts(reference, ["Press pound.", "Hang."]) == ()
    assert [one.clip for one in differing_transcripts(reference, ["Press pound", "Hang."])] == ["a"]


def test_the_rate_is_of_words_against_what_was_said(reference: Reference) -> None:
    assert scores(reference, ["Press, pound!", "hang out"]).wer == 0.25


def test_a_row_says_how_far_its_rate_is_from_the_models_and_how_sure_that_is(
    reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = RuntimeAnswer("stub", "1", ("press", "hang out"), 0.1, 1.0, 1)
    monkeypatch.setattr(parity, "run_runtime", lambda *asked, **settings: (answer, None))
    row = measure(tmp_path, FORMATS["onnx"], "int8", reference)
    assert (row.wer, row.wer_change) == (0.5, 0.25)  # the model itself leaves one word of four out
    assert row.wer_change_interval == (0.0, 0.5)


def test_requests_and_answers_survive_json() -> None:
    request = RuntimeRequest(("a.npy",), "en", "transcribe", 2, (100,), ((1, 2), (3,)))
    assert RuntimeRequest.from_dict(json.loads(json.dumps(request.to_dict()))) == request
    answer = RuntimeAnswer("x", "1", ("a", "b"), 1.0, 2.0, 3, None)
    assert RuntimeAnswer.from_dict(json.loads(json.dumps(answer.to_dict()))) == answer


@pytest.mark.parametrize("name", ["whisper_cpp", "onnxruntime"])
def test_small_runtimes_load_no_torch(name: str) -> None:
    code = (
        f"import sys, whisper_peft.deploy.runtimes.__main__, whisper_peft.deploy.runtimes.{name}; "
        "sys.exit(' '.join({'torch', 'transformers', 'pydantic'} & set(sys.modules)) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
