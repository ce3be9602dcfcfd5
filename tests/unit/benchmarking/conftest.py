"""What the tests of the benchmark share."""

import importlib.util
import json
import sys

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from whisper_peft.benchmarking.processes import reference_script
from whisper_peft.benchmarking.sides import SideRun
from whisper_peft.model.checkpoints.companions import save_companions
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import Recipe

NARROW = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}


@pytest.fixture(scope="session")
def narrow_model(tiny_en, tmp_path_factory):
    """Return the folder of an untrained one-layer Whisper with tiny.en's tokenizer."""
    folder = tmp_path_factory.mktemp("narrow")
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig(**{**tiny_en.config.to_dict(), **NARROW}))
    model.save_pretrained(folder)
    save_companions(tiny_en.companions, folder)
    return folder


@pytest.fixture(scope="session")
def short_speech(tmp_path_factory, prompts_en):
    """Return a manifest of the shortest English prompts: 16 to learn from, 3 to score."""
    path = tmp_path_factory.mktemp("speech") / "short.jsonl"
    rows = sorted(prompts_en, key=lambda row: row["duration_s"])
    chosen = [row for row in rows if row["split"] == "train"][:16]
    chosen += [row for row in rows if row["split"] == "test"][:3]
    path.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def recipe(short_speech):
    """Return a function that makes a recipe on the short prompts."""

    def make(model, **fields):
        small = {
            "model": {"name": str(model), "device": "cpu"},
            "data": {"source": str(short_speech), "train": "train", "eval": "test"},
            "adapter": {"r": 4, "lora_alpha": 8},
            "train": {"epochs": 1, "batch_size": 8, "workers": 0},
        }
        return apply_overrides(apply_overrides(Recipe(), small), fields)

    return make


@pytest.fixture(scope="session")
def reference():
    """Return the reference's script as a module."""
    spec = importlib.util.spec_from_file_location("padded_reference", reference_script())
    module = sys.modules["padded_reference"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def side_run():
    """Return a function that makes a run of 4 steps, with some fields otherwise."""

    def make(**fields):
        plain = {
            "utterances": 32,
            "audio_seconds": 40.0,
            "target_tokens": 320,
            "prefix_tokens": 0,
            "epochs": 1,
            "wall_seconds": 8.0,
            "step_seconds": (2.0, 1.0, 2.0, 3.0),
            "step_audio_seconds": (10.0, 5.0, 10.0, 15.0),
            "data_wait_seconds": 0.4,
            "memory_before_bytes": 100,
            "memory_peak_bytes": 300,
            "lifetime_peak_bytes": 350,
            "losses": (4.0, 3.0, 2.0, 1.0),
            "workers": 1,
            "adapter": "adapter",
        }
        return SideRun(**{**plain, **fields})

    return make
