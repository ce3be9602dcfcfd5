"""whisper.cpp through pywhispercpp, for a folder with a GGML file."""

from __future__ import annotations

import re
from importlib.metadata import files, version
from pathlib import Path

import numpy as np
import pywhispercpp.model
from numpy.typing import NDArray

from whisper_peft.deploy.runtime_values import RuntimeRequest
from whisper_peft.errors import ExportError

GGML_FILE = "ggml-model.bin"

TYPE_PLACE = 4 * 11
"""Where the file's type stands: behind the magic number and ten sizes."""


def _library_version() -> str:
    """Return the version of whisper.cpp that the wheel brings, from the name of its library."""
    names = "\n".join(str(file) for file in files("pywhispercpp") or ())
    found = re.search(r"libwhisper\S*?(\d+\.\d+\.\d+)", names)
    return found.group(1) if found else "of unknown version"


def _refuse_f32(path: Path) -> None:
    """Tell what whisper.cpp would abort at: since 2024 it computes convolutions of fp16 weights only."""
    with path.open("rb") as file:
        if file.seek(TYPE_PLACE) and file.read(4) == bytes(4):
            raise ExportError(
                f"{path} is a GGML file in fp32",
                "whisper.cpp reads it, and aborts at the first convolution (ggml-org/whisper.cpp issue 2557)",
                "give --quantize f16",
            )


class WhisperCpp:
    """A GGML file in whisper.cpp."""

    name = "whisper.cpp"
    version = f"{_library_version()}, pywhispercpp {version('pywhispercpp')}"

    def __init__(self, folder: Path, request: RuntimeRequest) -> None:
        _refuse_f32(folder / GGML_FILE)
        self._model = pywhispercpp.model.Model(
            str(folder / GGML_FILE),
            redirect_whispercpp_logs_to=None,
            # its flash attention, the default, pads 1500 positions to 1536 with zeros and attends to them
            context_params={"flash_attn": False},
            n_threads=request.threads,
            language=request.language or "en",
            translate=request.task == "translate",
            no_timestamps=True,
            single_segment=True,
            no_context=True,
            greedy={"best_of": 1},
            # without further temperatures the thresholds that start a new attempt are not asked
            temperature_inc=0.0,
            no_speech_thold=1.0,
            # off by default, and part of every generation config of Whisper
            suppress_nst=True,
            suppress_blank=True,
            print_progress=False,
            print_timestamps=False,
        )

    def transcribe(self, samples: NDArray[np.float32], audio_frames: int | None) -> str:
        """Return what is said in a clip; `audio_ctx` counts pairs of frames, and 0 means 30 s."""
        segments = self._model.transcribe(samples, audio_ctx=(audio_frames or 0) // 2)
        return "".join(segment.text for segment in segments).strip()


load = WhisperCpp
