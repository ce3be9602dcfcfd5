"""The runtimes that ship models: each is given a small random model in its own format, and listens."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from whisper_peft.deploy.export_values import Reference
from whisper_peft.deploy.formats import FORMATS
from whisper_peft.deploy.parity import run_runtime
from whisper_peft.deploy.runtimes import RUNTIMES, require
from whisper_peft.diagnostics.checks import Attempt, Check
from whisper_peft.model.small_models import small_whisper
from whisper_peft.types import SAMPLING_RATE, Utterance

TIMEOUT_S = 60.0
"""What a runtime may take, its imports from a slow disk among it."""


def try_runtime(runtime: str) -> Check:
    """Export a small model to the format of a runtime and let it listen to a second of sound.

    Args:
        runtime: One of `RUNTIMES`.
    """
    todo = f'pip install "{RUNTIMES[runtime].install}"'
    return Attempt(lambda: _listen(runtime), todo).check(runtime.replace("_", "-"))


def _listen(runtime: str) -> str:
    for library in RUNTIMES[runtime].libraries:
        require(library, install=RUNTIMES[runtime].install)
    form = next(form for form in FORMATS.values() if form.runtime == runtime)
    with TemporaryDirectory(prefix="whisper-peft-") as scratch:
        whisper = small_whisper(Path(scratch) / "model")
        written = Path(scratch) / form.name
        written.mkdir()
        form.write(whisper, written, form.quantizations[0])
        answer, _ = run_runtime(
            runtime, written / form.model_folder, _second(), threads=1, start_timeout_s=TIMEOUT_S
        )
    return f"heard a second from the format {form.name}, {answer.runtime} {answer.version}"


def _second() -> Reference:
    """Return a second of quiet noise, with nothing to compare."""
    noise = np.random.default_rng(0).normal(0, 0.01, SAMPLING_RATE).astype(np.float32)
    clip = Utterance("noise", noise, "", sampling_rate=SAMPLING_RATE)
    return Reference((clip,), "en", "transcribe", "none", ("",), (), ())
