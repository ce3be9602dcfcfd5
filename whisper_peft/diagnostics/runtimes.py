"""The runtimes that ship models: each is given a small random model in its own format, and listens."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from whisper_peft.deploy.export_values import Reference
from whisper_peft.deploy.formats import FORMATS
from whisper_peft.deploy.parity import run_runtime
from whisper_peft.deploy.runtimes import RUNTIMES, require
from whisper_peft.diagnostics.checks import Attempt, Check
from whisper_peft.diagnostics.remedies import remedy
from whisper_peft.model.small_models import small_whisper
from whisper_peft.types import SAMPLING_RATE, Utterance

TIMEOUT_S = 60.0
"""What a runtime may take, its imports from a slow disk among it."""


_NATIVE = {
    "transformers": "torch",
    "faster_whisper": "ctranslate2",
    "whisper_cpp": "pywhispercpp",
    "onnxruntime": "onnxruntime",
    "openai_whisper": "torch",
}
"""The distribution whose native code each runtime computes with."""


def try_runtime(runtime: str) -> Check:
    """Export a small model to the format of a runtime and let it listen to a second of sound.

    Args:
        runtime: One of `RUNTIMES`.
    """
    kind = RUNTIMES[runtime]
    attempt = Attempt(
        lambda: _listen(runtime),
        f'pip install "{kind.install}"',
        _NATIVE[runtime],
        "export to another format",
    )
    check = attempt.check(runtime.replace("_", "-"))
    if check.works or not all(map(find_spec, kind.libraries)):
        return check
    return replace(check, todo=remedy(attempt, None))


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
