"""A finished run of a few steps, and its speech."""

import json

import pytest

from tests.unit.pipeline.runs.short_runs import overrides
from whisper_peft import finetune


@pytest.fixture(scope="session")
def speech(tmp_path_factory, prompts_en):
    """Return a manifest of a few short English prompts."""
    path = tmp_path_factory.mktemp("speech") / "short.jsonl"
    chosen = sorted(prompts_en, key=lambda row: row["duration_s"])[:12]
    path.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def run(speech, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return finetune("lora-librispeech", **overrides(speech), output_dir=folder)
