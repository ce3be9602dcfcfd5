"""The runtimes that ship models, each run in a process of its own that loads little else.

`python -m whisper_peft.deploy.runtimes NAME FOLDER REQUEST.json ANSWER.json` runs one. A module here has the
name of its library, which importing it imports, and a `load` from a folder and a request to a `Runtime`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whisper_peft.errors import ExportError

WINDOW_SAMPLES = 480_000
"""30 s at 16 kHz."""


class Runtime(Protocol):
    """A model in a runtime, ready to listen.

    Attributes:
        name: Such as `faster-whisper`.
        version: Its version, and that of the library below it.
    """

    name: str
    version: str

    def transcribe(self, samples: NDArray[np.float32], audio_frames: int | None) -> str:
        """Return what is said in a clip of at most 30 s.

        Args:
            samples: The clip at 16 kHz.
            audio_frames: Log-mel frames that the encoder hears; None: 30 s.
        """
        ...


class LogitRuntime(Runtime, Protocol):
    """A runtime that shows its logits."""

    def logits(
        self, samples: NDArray[np.float32], audio_frames: int | None, tokens: tuple[int, ...]
    ) -> NDArray[np.float32]:
        """Return the logits at given tokens of the decoder, shape `(tokens, vocabulary)`."""
        ...


@dataclass(frozen=True, slots=True)
class RuntimeKind:
    """What a runtime needs.

    Attributes:
        libraries: Modules that must be installed.
        install: What `pip install` brings them: whisper_peft with an extra in brackets, or a package.
        hears_short: Whether the encoder can hear a clip alone, instead of 30 s.
        shows_logits: Whether it is a `LogitRuntime`.
    """

    libraries: tuple[str, ...]
    install: str
    hears_short: bool = False
    shows_logits: bool = False


RUNTIMES: Mapping[str, RuntimeKind] = {
    "whisper_peft": RuntimeKind((), "whisper-peft", hears_short=True),
    "transformers": RuntimeKind((), "whisper-peft", shows_logits=True),
    "faster_whisper": RuntimeKind(("faster_whisper",), "whisper-peft[ctranslate2]"),
    "whisper_cpp": RuntimeKind(("pywhispercpp",), "whisper-peft[ggml]", hears_short=True),
    "onnxruntime": RuntimeKind(("onnxruntime",), "whisper-peft[onnx]", hears_short=True, shows_logits=True),
    "openai_whisper": RuntimeKind(("whisper",), "openai-whisper", shows_logits=True),
}
"""Every runtime by the name of its module."""


def require(library: str, *, install: str) -> None:
    """Refuse to go on without an optional library.

    Args:
        library: Name of its module.
        install: What `pip install` brings it.

    Raises:
        ExportError: If it is not installed.

    Example:
        >>> require("numpy", install="numpy")
        >>> require("gguff", install="gguf")
        Traceback (most recent call last):
        ...
        whisper_peft.errors.ExportError: gguff is not installed - it is needed - pip install "gguf"
    """
    if importlib.util.find_spec(library) is None:
        raise ExportError(f"{library} is not installed", "it is needed", f'pip install "{install}"')
