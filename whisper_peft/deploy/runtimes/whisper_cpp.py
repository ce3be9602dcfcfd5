"""whisper.cpp through pywhispercpp, for a folder with a GGML file."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pywhispercpp.model
from numpy.typing import NDArray

from whisper_peft.deploy.runtime_values import RuntimeRequest

GGML_FILE = "ggml-model.bin"


class WhisperCpp:
    """A GGML file in whisper.cpp."""

    name = "whisper.cpp"
    version = f"pywhispercpp {version('pywhispercpp')}"

    def __init__(self, folder: Path, request: RuntimeRequest) -> None:
        self._model = pywhispercpp.model.Model(
            str(folder / GGML_FILE),
            redirect_whispercpp_logs_to=None,
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
