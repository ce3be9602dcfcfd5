"""OpenAI's own package, for a folder with a `.pt` file."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import whisper
from numpy.typing import NDArray

from whisper_peft.deploy.runtime_values import RuntimeRequest

MODEL_FILE = "model.pt"


class OpenaiWhisper:
    """A `.pt` file in openai-whisper."""

    name = "openai-whisper"
    version = f"{version('openai-whisper')}, torch {torch.__version__}"

    def __init__(self, folder: Path, request: RuntimeRequest) -> None:
        torch.set_num_threads(request.threads)
        self._model = whisper.load_model(str(folder / MODEL_FILE), device="cpu")
        self._options = whisper.DecodingOptions(
            language=request.language or "en", task=request.task, without_timestamps=True, fp16=False
        )

    def transcribe(self, samples: NDArray[np.float32], audio_frames: int | None) -> str:
        """Return what is said in a clip, by `decode`.

        `transcribe` would end the spectrogram in zeros, which is what loud speech looks like, not silence.
        """
        found = whisper.decode(self._model, self._hear(samples), self._options)
        assert isinstance(found, whisper.DecodingResult)  # of one clip, not of several
        return str(found.text).strip()

    @torch.no_grad()
    def logits(
        self, samples: NDArray[np.float32], audio_frames: int | None, tokens: tuple[int, ...]
    ) -> NDArray[np.float32]:
        """Return the logits at given tokens of the decoder."""
        logits = self._model(self._hear(samples)[None], torch.tensor([tokens]))
        found: NDArray[np.float32] = logits[0].numpy()
        return found

    def _hear(self, samples: NDArray[np.float32]) -> torch.Tensor:
        heard: torch.Tensor = whisper.log_mel_spectrogram(
            whisper.pad_or_trim(samples), self._model.dims.n_mels
        )
        return heard


load = OpenaiWhisper
