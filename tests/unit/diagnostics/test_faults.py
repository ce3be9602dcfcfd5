"""Planted faults: what is missing, broken, full or crashing is one finding, and the rest is still tried."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from whisper_peft.deploy import parity
from whisper_peft.deploy.runtimes import RUNTIMES
from whisper_peft.diagnostics import (
    apart,
    arithmetic,
    codecs,
    libraries,
    remedies,
    runtimes,
    services,
    surroundings,
)
from whisper_peft.diagnostics.apart import try_apart
from whisper_peft.diagnostics.checks import Attempt
from whisper_peft.diagnostics.runtimes import try_runtime


def test_a_failing_attempt_is_reported_and_not_raised() -> None:
    def attempt() -> str:
        raise RuntimeError("no kernel\nand much more")

    check = Attempt(attempt, "reinstall").check("int8")
    assert (check.works, check.detail, check.todo) == (False, "RuntimeError: no kernel", "reinstall")


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A group of attempts of which one kills its process, one never ends and one prints nonsense."""
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent(
            """
            import os, signal, sys, time, types

            planted = types.ModuleType("whisper_peft.diagnostics.planted")
            sys.modules[planted.__name__] = planted

            class Planted:
                def __init__(self, action): self.action = action
                def check(self, name):
                    from whisper_peft.diagnostics.checks import Check
                    self.action()
                    return Check(name, True, "fine")

            planted.ATTEMPTS = {
                "first": Planted(lambda: None),
                "aborts": Planted(os.abort),
                "prints": Planted(lambda: print("half a line of a library's own")),
                "hangs": Planted(lambda: time.sleep(60)),
                "leaves": Planted(lambda: os._exit(3)),
                "last": Planted(lambda: None),
            }
            """
        )
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "planted"


def test_a_crash_and_a_hang_leave_the_other_checks_alone(group: str) -> None:
    names = ("first", "aborts", "prints", "hangs", "leaves", "last")
    attempts = {name: Attempt(str, "", "bitsandbytes", "set model.quantize to none") for name in names}
    found = try_apart(group, attempts, timeout_s=6)
    assert [check.works for check in found] == [True, False, True, False, False, True]
    assert "SIGABRT" in found[1].detail
    assert found[3].detail == "no answer within 6 s"
    assert found[4].detail == "ended with exit code 3"
    installed = (
        f"bitsandbytes {version('bitsandbytes')} is damaged or does not suit this machine: pip install"
    )
    assert all(check.todo.startswith(installed) for check in found if not check.works)


QUANTISED = Attempt(str, "", "bitsandbytes", "set model.quantize to none")


@pytest.mark.parametrize(
    ("code", "todo"),
    [
        (
            -signal.SIGSEGV,
            "bitsandbytes 0.50.2 is damaged or does not suit this machine: pip install --force-reinstall "
            "--no-deps --no-cache-dir bitsandbytes==0.50.2; until that works, set model.quantize to none",
        ),
        (
            -signal.SIGILL,
            "bitsandbytes 0.50.2 is built for other processors: pip install 'bitsandbytes<0.50.2'; "
            "until that works, set model.quantize to none",
        ),
        (-signal.SIGKILL, "the system ended it, mostly for want of memory: end other programs and try again"),
    ],
)
def test_a_crash_names_the_library_its_version_and_what_to_type(
    monkeypatch: pytest.MonkeyPatch, code: int, todo: str
) -> None:
    monkeypatch.setattr(remedies, "version", lambda name: "0.50.2")
    assert remedies.remedy(QUANTISED, code) == todo


def test_a_build_of_torch_is_installed_again_from_its_own_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remedies, "version", lambda name: "2.13.0+cpu")
    todo = remedies.remedy(arithmetic.ATTEMPTS["fp32"], -signal.SIGSEGV)
    assert todo.endswith("torch==2.13.0+cpu --index-url https://download.pytorch.org/whl/cpu")
    assert remedies.remedy(arithmetic.ATTEMPTS["fp32"], -signal.SIGILL).endswith("pip install 'torch<2.13.0'")


def test_whatever_runs_apart_names_a_library_that_is_installed() -> None:
    groups = (arithmetic.ATTEMPTS, codecs.ATTEMPTS, services.ATTEMPTS)
    libraries_tried = {attempt.library for attempts in groups for attempt in attempts.values()}
    assert all(map(version, libraries_tried | {*runtimes._NATIVE.values()}))
    assert runtimes._NATIVE.keys() == RUNTIMES.keys() - {"whisper_peft"}


def test_the_arithmetic_of_this_machine_works() -> None:
    found = try_apart("arithmetic", arithmetic.ATTEMPTS)
    assert [check.name for check in found] == ["fp32", "bf16", "fp16", "int8", "nf4"]
    assert all(check.works for check in found), found
    assert "GFLOP/s" in found[0].detail


def test_bitsandbytes_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.nn.modules", None)
    found = arithmetic.ATTEMPTS["nf4"].check("nf4")
    assert not found.works
    assert "bitsandbytes" in found.detail
    assert found.todo == "pip install --upgrade bitsandbytes"


def test_arithmetic_that_gives_no_numbers_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim.SGD, "step", spoil)
    found = arithmetic.ATTEMPTS["fp16"].check("fp16")
    assert found.detail == "ArithmeticError: a step gave weights that are not finite"


def test_a_step_that_is_left_out_does_not_count_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.amp.GradScaler, "step", lambda scaler, optimizer: None)
    found = arithmetic.ATTEMPTS["bf16"].check("bf16")
    assert found.detail == "ArithmeticError: a step changed nothing: its gradients were not finite"


def spoil(optimizer: torch.optim.SGD) -> None:
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.data.fill_(float("nan"))


@pytest.mark.parametrize("name", codecs.ATTEMPTS)
def test_recordings_come_back_as_they_were(name: str) -> None:
    if name == "m4a" and shutil.which("ffmpeg") is None:
        pytest.skip("there is no ffmpeg on this machine")
    assert codecs.ATTEMPTS[name].check(name).works


def test_a_codec_that_gives_another_sound_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(file: io.BytesIO, samples: Any, rate: int, **how: Any) -> None:
        real_write(file, samples[::2], rate, **how)

    real_write = codecs.soundfile.write
    monkeypatch.setattr(codecs.soundfile, "write", write)
    found = codecs.ATTEMPTS["ogg"].check("ogg")
    assert not found.works
    assert "came back as 880 Hz and 0.50 s" in found.detail
    assert found.todo == "pip install --upgrade soundfile"


def test_a_codec_that_is_not_built_in_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **how: Any) -> None:
        raise ValueError("Unknown format: 'MP3'")

    monkeypatch.setattr(codecs.soundfile, "write", refuse)
    assert codecs.ATTEMPTS["mp3"].check("mp3").detail == "ValueError: Unknown format: 'MP3'"


def test_without_ffmpeg_it_is_said_what_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "which", lambda name: None)
    found = codecs.ATTEMPTS["m4a"].check("m4a")
    assert "m4a, aac, wma, webm and amr" in found.detail
    assert found.todo.startswith("install ffmpeg")


def test_an_ffmpeg_without_the_coder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "which", lambda name: "/bin/false")
    assert "CalledProcessError" in codecs.ATTEMPTS["m4a"].check("m4a").detail


def test_a_server_answers() -> None:
    found = services.ATTEMPTS["server"].check("server")
    assert found.works, found
    assert "heard" in found.detail


@pytest.mark.parametrize(("name", "module"), [("server", "uvicorn"), ("page", "gradio"), ("ray", "ray")])
def test_a_service_whose_library_is_missing_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    found = services.ATTEMPTS[name].check(name)
    assert module in found.detail
    assert "whisper-peft[" in found.todo


def test_onnxruntime_hears_a_model_of_its_own_format() -> None:
    pytest.importorskip("onnxruntime")
    found = try_runtime("onnxruntime")
    assert found.works, found
    assert found.detail.startswith("heard a second from the format onnx, onnxruntime ")


def test_a_runtime_that_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pywhispercpp", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = try_runtime("whisper_cpp")
    assert (found.name, found.works) == ("whisper-cpp", False)
    assert found.detail == "pywhispercpp is not installed - it is needed"
    assert found.todo == 'pip install "whisper-peft[ggml]"'


def test_a_runtime_that_crashes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*given: Any, **how: Any) -> Any:
        return subprocess.CompletedProcess([], -11, b"", b"illegal instruction")

    monkeypatch.setattr(parity.subprocess, "run", crash)
    found = try_runtime("transformers")
    assert "transformers crashed (SIGSEGV)" in found.detail
    assert found.todo.startswith(f"torch {version('torch')} is damaged or does not suit this machine")


def test_a_library_that_is_too_old_or_missing_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = ["numpy>=999", "no-such-package>=1", "rich>=1", 'optuna>=99; extra == "search"']
    monkeypatch.setattr(libraries.importlib.metadata, "requires", lambda _: lines)
    found = {check.name: check for check in libraries.needed_libraries()}
    assert found.keys() == {"numpy", "no-such-package"}
    assert found["numpy"].todo == "pip install 'numpy>=999'"
    assert found["no-such-package"].detail == "not installed"
    extras = {check.name: check for check in libraries.extras()}
    assert "older than >=99" in extras["[search]"].detail
    assert extras["[search]"].todo == 'pip install "whisper-peft[search]"'


def test_an_extra_that_is_not_installed_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(libraries.importlib.metadata, "version", version)
    (onnx,) = [check for check in libraries.extras() if check.name == "[onnx]"]
    assert onnx.detail == "onnx not installed; onnxruntime not installed"
    assert onnx.todo == 'pip install "whisper-peft[onnx]"'


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(surroundings.os, "fsync", full)
    found = surroundings.disk(tmp_path)
    assert not found.works
    assert "No space left on device" in found.detail
    assert "--output-dir" in found.todo
    assert not list(tmp_path.iterdir())


def test_a_disk_with_little_room_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert surroundings.disk(tmp_path).detail.endswith("MB/s")
    monkeypatch.setattr(surroundings, "_NEEDED_DISK_BYTES", 10**18)
    found = surroundings.disk(tmp_path)
    assert not found.works
    assert found.todo


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert not surroundings.disk(tmp_path / "nowhere").works


def test_short_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "free_memory_bytes", lambda: 10**9)
    found = surroundings.memory()
    assert not found.works
    assert found.detail.startswith("0.9 of ")


def test_without_a_gpu_the_build_of_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    found = surroundings.accelerator()
    assert "built for CUDA" in found.detail
    assert "driver" in found.todo


def test_a_gpu_is_named_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        name, total_memory, major, minor = "Tesla T4", 15 * 2**30, 7, 5

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    assert surroundings.accelerator().detail == "Tesla T4, 15 GiB, compute capability 7.5"


def test_the_tone_is_what_is_measured() -> None:
    with pytest.raises(ValueError, match="440 Hz and 1 s came back as 0 Hz"):
        codecs._heard(np.zeros(16_000, np.float32))


def test_a_process_says_how_it_ended() -> None:
    assert apart._ending(1, "Traceback\nImportError: no torch\n") == "ImportError: no torch"
    assert apart._ending(-4, "").startswith("crashed (SIGILL)")
