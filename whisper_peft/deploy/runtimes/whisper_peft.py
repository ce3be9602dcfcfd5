"""This library itself, for a run, an adapter or a model: what the others are compared with."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from whisper_peft.deploy.runtime_values import RuntimeRequest
from whisper_peft.evaluation.generation import AudioContext, generate_transcripts
from whisper_peft.model.loading import load_run_or_model
from whisper_peft.recipe.sections import ModelSection


class WhisperPeft:
    """A run, adapter folder or model, in float on the CPU."""

    name = "whisper-peft"
    version = f"{version('whisper-peft')}, torch {torch.__version__}"

    def __init__(self, folder: Path, request: RuntimeRequest) -> None:
        torch.set_num_threads(request.threads)
        whole = ModelSection(precision="fp32", quantize="none", device="cpu")
        self._whisper = load_run_or_model(str(folder), whole)
        self._language, self._task = request.language, request.task

    def transcribe(self, samples: NDArray[np.float32], audio_frames: int | None) -> str:
        """Return what is said in a clip."""
        context: AudioContext = "full" if audio_frames is None else "cut"
        found = generate_transcripts(
            self._whisper, [samples], language=self._language, task=self._task, audio_context=context
        )
        return found[0]


load = WhisperPeft
