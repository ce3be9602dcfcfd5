from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import whisper_peft
from whisper_peft.cli import main
from whisper_peft.commands.hosting import _joined
from whisper_peft.errors import ModelError, ServingError
from whisper_peft.pipeline import hosting
from whisper_peft.pipeline.hosting import open_engine


def test_a_model_without_an_adapter_is_served_alone() -> None:
    engine = open_engine("openai/whisper-tiny.en", adapters={}, model={"device": "cpu"})
    assert {name: one.audio_context for name, one in engine.models.items()} == {
        "openai/whisper-tiny.en": "full"
    }


def test_a_multilingual_model_without_a_language_detects_it() -> None:
    engine = open_engine("openai/whisper-base", adapters={}, model={"device": "cpu"})
    assert engine.models["openai/whisper-base"].language is None


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no adapter"):
        open_engine("openai/whisper-tiny.en", adapters={"a": tmp_path}, model={"device": "cpu"})


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="is taken"):
        open_engine("openai/whisper-tiny.en", adapters={"openai/whisper-tiny.en": tmp_path})


def test_missing_libraries_are_named_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "LIBRARIES", ("fastapi", "no_such_library"))
    with pytest.raises(ServingError, match=r"no_such_library.*whisper-peft\[serve\]"):
        whisper_peft.serve("nowhere")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "0.0.0.0"], "without an API key"),
        (["--adapter", "a"], "NAME=PATH"),
        (["--adapter", "a=x", "--adapter", "a=y"], "given twice"),
        (["--max-requests", "0"], "max_requests is 0"),
        (["--api-key-file", "/nowhere"], "cannot be read"),
        (["--max-request", "3"], "--max-requests"),
    ],
)
def test_a_flag_that_cannot_be_ends_with_a_sentence(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WHISPER_PEFT_API_KEY", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(args=["serve", "openai/whisper-tiny.en", *words])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_serve_says_nothing_before_its_own_words() -> None:
    """PEFT imports bitsandbytes, which speaks of kernels unless it is silenced first."""
    command = [str(Path(sys.executable).with_name("whisper-peft")), "serve", "/nowhere", "--page", "no"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert said.stderr.startswith("error: ")
    assert "kernels" not in said.stderr


def test_adapters_may_be_named_one_by_one_or_together() -> None:
    words = ["run", "--adapter", "a=1", "--port", "1", "--adapter=b=2", "--adapter", "c=3", "d=4"]
    assert _joined(words) == ["run", "--port", "1", "--adapter", "a=1", "b=2", "c=3", "d=4"]


@pytest.mark.slow
def test_sigterm_answers_what_was_taken_and_refuses_what_comes_later(
    prompts_en: list[dict[str, Any]], tmp_path: Path
) -> None:
    command = [str(Path(sys.executable).with_name("whisper-peft")), "serve", "openai/whisper-tiny.en"]
    key = {**os.environ, "WHISPER_PEFT_API_KEY": "sesame", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, "--port", "0", "--page", "no"], stderr=subprocess.PIPE, text=True, env=key
    ) as server:
        assert server.stderr is not None
        line = next(line for line in server.stderr if " at http" in line)
        threading.Thread(target=server.stderr.read, daemon=True).start()
        address = line.split(" at ")[1].split("/v1")[0]
        headers = {"authorization": "Bearer sesame"}

        def ask(row: dict[str, Any]) -> str:
            files = {"file": ("a", Path(row["file_name"]).read_bytes())}
            url, data = f"{address}/v1/audio/transcriptions", {"model": "whisper-1"}
            answer = httpx.post(url, data=data, files=files, headers=headers, timeout=120)
            return str(answer.json()["text"])

        expected = [ask(row) for row in prompts_en[:8]]
        with ThreadPoolExecutor(8) as threads:
            answers = [threads.submit(ask, row) for row in prompts_en[:8]]
            while f"open_requests {8}.0" not in httpx.get(f"{address}/metrics", headers=headers).text:
                time.sleep(0.01)
            server.send_signal(signal.SIGTERM)
            assert [answer.result() for answer in answers] == expected
        assert server.wait(timeout=60) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/health")
