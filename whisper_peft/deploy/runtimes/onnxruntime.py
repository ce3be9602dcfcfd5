"""onnxruntime, for a folder of ONNX graphs: spectrogram, encoder, and a greedy loop around the decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from whisper_peft.deploy.runtime_values import RuntimeRequest

HOP_LENGTH = 160
WINDOW_FRAMES = 3000

Floats = NDArray[np.float32]
Past = dict[str, NDArray[Any]]


class OnnxRuntime:
    """Three graphs in onnxruntime."""

    name = "onnxruntime"
    version = onnxruntime.__version__

    def __init__(self, folder: Path, request: RuntimeRequest) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = request.threads
        options.log_severity_level = 3
        self._log_mel, self._encoder, self._decoder = (
            onnxruntime.InferenceSession(folder / f"{name}_model.onnx", options, ["CPUExecutionProvider"])
            for name in ("log_mel", "encoder", "decoder_with_past")
        )
        self._settings = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._prefix = prefix(self._settings, request)

    def transcribe(self, samples: Floats, audio_frames: int | None) -> str:
        """Return the likeliest token after the likeliest, until the text ends."""
        past = self._listen(samples, audio_frames)
        tokens: list[int] = []
        read = self._prefix
        while len(self._prefix) + len(tokens) < self._settings["max_length"]:
            logits, past = self._step(read, past)
            scores = logits[-1]
            scores[self._settings["suppress_tokens"]] = -np.inf
            if not tokens:
                scores[self._settings["begin_suppress_tokens"]] = -np.inf
            read = (int(scores.argmax()),)
            if read[0] == self._settings["eos_token_id"]:
                break
            tokens += read
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def logits(self, samples: Floats, audio_frames: int | None, tokens: tuple[int, ...]) -> Floats:
        """Return the logits at given tokens of the decoder."""
        logits, _ = self._step(tokens, self._listen(samples, audio_frames))
        return logits

    def _listen(self, samples: Floats, audio_frames: int | None) -> Past:
        """Return an empty past of tokens, and what was heard."""
        frames = audio_frames or WINDOW_FRAMES
        samples = samples[: frames * HOP_LENGTH]
        # the two frames behind the end still hear it
        heard = min(max(frames, -(-len(samples) // HOP_LENGTH) + 2), WINDOW_FRAMES)
        waveform = np.pad(samples, (0, heard * HOP_LENGTH - len(samples)))[None]
        (features,) = self._log_mel.run(None, {"waveform": waveform})
        names = [output.name for output in self._encoder.get_outputs()[1:]]
        states = self._encoder.run(names, {"input_features": features[:, :, :frames]})
        past = {
            name.replace("present", "past_key_values"): value
            for name, value in zip(names, states, strict=True)
        }
        empty = {name.replace("encoder", "decoder"): value[:, :, :0] for name, value in past.items()}
        return past | empty

    def _step(self, tokens: tuple[int, ...], past: Past) -> tuple[Floats, Past]:
        """Return the logits of tokens after a past, shape `(tokens, vocabulary)`, and the past with them."""
        logits, *present = self._decoder.run(None, {"input_ids": np.array([tokens]), **past})
        names = [
            output.name.replace("present", "past_key_values") for output in self._decoder.get_outputs()[1:]
        ]
        return logits[0], past | dict(zip(names, present, strict=True))


def prefix(settings: dict[str, Any], request: RuntimeRequest) -> tuple[int, ...]:
    """Return the tokens that the decoder is given first.

    Example:
        >>> settings = {"decoder_start_token_id": 50257, "no_timestamps_token_id": 50362}
        >>> prefix({**settings, "is_multilingual": False}, RuntimeRequest((), None, "transcribe"))
        (50257, 50362)
    """
    told: tuple[int, ...] = ()
    if settings["is_multilingual"]:
        told = (settings["lang_to_id"][f"<|{request.language}|>"], settings["task_to_id"][request.task])
    return (settings["decoder_start_token_id"], *told, settings["no_timestamps_token_id"])


load = OnnxRuntime
