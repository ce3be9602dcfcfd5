"""Run one runtime on the clips of a request, and write down what it said and what it took."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from whisper_peft.deploy.runtime_values import RuntimeAnswer, RuntimeRequest
from whisper_peft.deploy.runtimes import RUNTIMES, LogitRuntime, Runtime
from whisper_peft.errors import WhisperPeftError
from whisper_peft.measuring import Stopwatch, peak_memory_bytes

LOGITS_FILE = "logits.npz"


def answer(name: str, folder: Path, request: RuntimeRequest, beside: Path) -> RuntimeAnswer:
    """Load a folder in a runtime and let it transcribe the clips.

    Args:
        name: Module of this package.
        folder: What was exported.
        request: The clips and the settings.
        beside: Folder to write the logits to.
    """
    module = importlib.import_module(f"whisper_peft.deploy.runtimes.{name}")
    loading, transcribing = Stopwatch(), Stopwatch()
    with loading:
        runtime: Runtime = module.load(folder, request)
    clips = [np.load(clip) for clip in request.clips]
    frames = request.audio_frames or (None,) * len(clips)
    with transcribing:
        transcripts = [runtime.transcribe(*heard) for heard in zip(clips, frames, strict=True)]
    peak = peak_memory_bytes()  # before logits are gathered, which nobody does in use
    shown = RUNTIMES[name].shows_logits and bool(request.decoder_input_ids)
    logits = _write_logits(cast(LogitRuntime, runtime), clips, frames, request, beside) if shown else None
    return RuntimeAnswer(
        runtime=runtime.name,
        version=runtime.version,
        transcripts=tuple(transcripts),
        load_s=loading.seconds,
        seconds=transcribing.seconds,
        peak_memory_bytes=peak,
        logits=logits,
    )


def _write_logits(
    runtime: LogitRuntime,
    clips: list[NDArray[np.float32]],
    frames: tuple[int | None, ...],
    request: RuntimeRequest,
    beside: Path,
) -> str:
    compared = zip(clips, frames, request.decoder_input_ids, strict=False)
    path = beside / LOGITS_FILE
    np.savez(path, *(runtime.logits(*asked) for asked in compared))
    return str(path)


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit code: 2 for what the caller can mend."""
    name, folder, request_file, answer_file = arguments
    request = RuntimeRequest.from_dict(json.loads(Path(request_file).read_text(encoding="utf-8")))
    try:
        found = answer(name, Path(folder), request, Path(answer_file).parent)
    except WhisperPeftError as error:
        print(error, file=sys.stderr)
        return 2
    Path(answer_file).write_text(json.dumps(found.to_dict()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # native threads of a runtime may crash while the interpreter takes itself apart
