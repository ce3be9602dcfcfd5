"""An exporter: every weight in one archive of numpy's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from whisper_peft.model.loading import Whisper


def write_archive(whisper: Whisper, folder: Path, quantization: str) -> None:
    """Write `weights.npz` and the model's configuration; `quantization` is float32 or float16."""
    weights = {name: weight.numpy() for name, weight in whisper.core.state_dict().items()}
    rounded = {name: weight.astype(quantization) for name, weight in weights.items()}
    np.savez(folder / "weights.npz", **rounded)
    whisper.core.config.to_json_file(folder / "config.json")
