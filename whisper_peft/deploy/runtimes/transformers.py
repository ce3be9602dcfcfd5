"""transformers' pipeline, for a folder in Hugging Face format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from whisper_peft.deploy.runtime_values import RuntimeRequest
from whisper_peft.types import SAMPLING_RATE


class Transformers:
    """A folder in `pipeline("automatic-speech-recognition")`."""

    name = "transformers.pipeline"
    version = f"{transformers.__version__}, torch {torch.__version__}"

    def __init__(self, folder: Path, request: RuntimeRequest) -> None:
        torch.set_num_threads(request.threads)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self._pipeline: Any = transformers.pipeline(
            "automatic-speech-recognition", model=str(folder), device="cpu"
        )
        told = {"language": request.language, "task": request.task} if request.language else {}
        self._settings = {"num_beams": 1, "do_sample": False, **told}

    def transcribe(self, samples: NDArray[np.float32], audio_frames: int | None) -> str:
        """Return what is said in a clip."""
        clip = {"raw": samples, "sampling_rate": SAMPLING_RATE}
        found: dict[str, str] = self._pipeline(clip, generate_kwargs=self._settings)
        return found["text"].strip()

    @torch.no_grad()
    def logits(
        self, samples: NDArray[np.float32], audio_frames: int | None, tokens: tuple[int, ...]
    ) -> NDArray[np.float32]:
        """Return the logits at given tokens of the decoder."""
        model, extractor = self._pipeline.model, self._pipeline.feature_extractor
        heard = extractor(samples, sampling_rate=SAMPLING_RATE, return_tensors="pt").input_features
        output = model(input_features=heard.to(model.dtype), decoder_input_ids=torch.tensor([tokens]))
        logits: NDArray[np.float32] = output.logits[0].float().numpy()
        return logits


load = Transformers
