"""faster-whisper, for a folder in CTranslate2 format."""

from __future__ import annotations

from pathlib import Path

import ctranslate2
import faster_whisper
import numpy as np
from numpy.typing import NDArray

from whisper_peft.deploy.runtime_values import RuntimeRequest
from whisper_peft.deploy.runtimes import WINDOW_SAMPLES


class FasterWhisper:
    """A folder in faster-whisper."""

    name = "faster-whisper"
    version = f"{faster_whisper.__version__}, ctranslate2 {ctranslate2.__version__}"

    def __init__(self, folder: Path, request: RuntimeRequest) -> None:
        self._model = faster_whisper.WhisperModel(str(folder), device="cpu", cpu_threads=request.threads)
        self._language, self._task = request.language or "en", request.task

    def transcribe(self, samples: NDArray[np.float32], audio_frames: int | None) -> str:
        """Return what is said in a clip.

        It comes with its silence: a shorter one would get a spectrogram that ends in zeros, which is what
        loud speech looks like, not silence.
        """
        segments, _ = self._model.transcribe(
            np.pad(samples, (0, WINDOW_SAMPLES - len(samples))),
            language=self._language,
            task=self._task,
            beam_size=1,
            temperature=0.0,
            compression_ratio_threshold=None,
            log_prob_threshold=None,
            no_speech_threshold=None,
            condition_on_previous_text=False,
            without_timestamps=True,
            vad_filter=False,
        )
        return "".join(segment.text for segment in segments).strip()


load = FasterWhisper
