"""Damage that was done to real weights on purpose is named by the health check, each time.

The models are whisper-tiny.en, taught for a minute by finetune() itself on real speech.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from whisper_peft import Health, finetune, health
from whisper_peft.evaluation.health.values import Check
from whisper_peft.reporting.run_report import read_report

pytestmark = pytest.mark.slow

FIRST_TIMESTAMP = 50_363
"""Id of <|0.00|> in English-only checkpoints."""

MOVED = 100
"""Timestamps by which they are exchanged: two seconds."""


@pytest.fixture(scope="module")
def damaged(
    tmp_path_factory: pytest.TempPathFactory, prompts_en: list[dict[str, Any]]
) -> Callable[..., Path]:
    """Return a function that teaches tiny.en English prompts with changed texts, and returns the run."""

    def teach(
        write: Callable[[str], str] = str, more: Sequence[dict[str, Any]] = (), **sections: Any
    ) -> Path:
        folder = tmp_path_factory.mktemp("damaged")
        rows = [
            {**row, "text": write(row["text"]) if row["split"] == "train" else row["text"]}
            for row in prompts_en
        ]
        (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, [*rows, *more])), encoding="utf-8")
        settings = {
            "data": {"source": str(folder / "rows.jsonl"), "train": "train", "eval": "test"},
            "model": {"name": "openai/whisper-tiny.en", "device": "cpu"},
            "adapter": {"r": 32, "scale": 1},
            "train": {"max_steps": 25, "batch_size": 8, "learning_rate": 1e-3, "workers": 0},
            "eval": {"short_context": False, "health": "quick"},
            "merge": {"enabled": False},
        }
        names = {*settings, *sections}
        merged = {name: {**settings.get(name, {}), **sections.get(name, {})} for name in names}
        return finetune("lora-librispeech", **merged, output_dir=folder / "run").folder

    return teach


def of(run: Path) -> Health:
    found = read_report(run).health
    assert found is not None
    return found


def verdicts(found: Health, name: str) -> set[str]:
    return {check.verdict for check in found.named(name)}


def test_a_model_that_lost_its_casing_is_named(damaged: Callable[..., Path]) -> None:
    found = of(damaged(data={"text_case": "lower"}))
    assert "bad" in verdicts(found, "style")
    assert any("capital" in check.why for check in found.named("style") if check.verdict == "bad")


def test_a_model_that_loops_is_named(damaged: Callable[..., Path]) -> None:
    found = of(damaged(lambda text: " ".join([text] * 12)))
    (check,) = found.named("loops")
    assert check.verdict == "bad"


@pytest.fixture(scope="module")
def restamped(damaged: Callable[..., Path]) -> Callable[[Callable[[Tensor], Tensor]], Check]:
    """Return a function that changes what timestamps are to a hardly tuned model, and returns the check."""
    folder = damaged(
        adapter={"method": "full"},
        train={"max_steps": 1, "learning_rate": 1e-9},
        eval={"health": "off"},
    )
    weights = folder / "model" / "model.safetensors"
    whole = load_file(weights)

    def change(restamp: Callable[[Tensor], Tensor]) -> Check:
        tensors = {name: tensor.clone() for name, tensor in whole.items()}
        stamps = tensors["model.decoder.embed_tokens.weight"][FIRST_TIMESTAMP:]
        stamps.copy_(restamp(stamps))
        save_file(tensors, weights, metadata={"format": "pt"})
        (check,) = health(folder).named("timestamps")
        return check

    return change


def test_a_model_that_forgot_its_timestamps_is_named(
    restamped: Callable[[Callable[[Tensor], Tensor]], Check],
) -> None:
    check = restamped(torch.zeros_like)
    assert check.verdict == "bad"
    assert "less likely where utterances end" in check.why


def test_a_model_whose_timestamps_have_moved_is_named(
    restamped: Callable[[Callable[[Tensor], Tensor]], Check],
) -> None:
    check = restamped(lambda stamps: stamps.roll(MOVED, dims=0))
    assert check.verdict == "bad"
    assert "further from where" in check.why


def test_a_model_tuned_on_its_test_set_is_named(damaged: Callable[..., Path]) -> None:
    found = of(damaged(data={"train": "test"}))
    (check,) = found.named("leakage")
    assert check.verdict == "bad"
    assert "tuned on its test set" in check.why


def test_a_model_that_writes_one_sentence_for_everything_is_named(damaged: Callable[..., Path]) -> None:
    found = of(damaged(lambda text: "Thank you for watching."))
    assert verdicts(found, "loops") == {"bad"}
    assert verdicts(found, "target") == {"bad"}
    assert "bad" in verdicts(found, "retention")


def test_a_model_that_writes_where_nobody_speaks_is_named(
    damaged: Callable[..., Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    noise = []
    for number, level in enumerate(np.geomspace(1e-5, 0.1, 24)):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, rng.normal(0, level, 64_000), 16_000, subtype="FLOAT")
        noise.append(
            {"file_name": str(path), "text": "The meeting is adjourned for today.", "split": "train"}
        )
    found = of(damaged(more=noise, train={"audio_context": "full", "max_steps": 12, "batch_size": 4}))
    assert verdicts(found, "hallucination") == {"bad"}
