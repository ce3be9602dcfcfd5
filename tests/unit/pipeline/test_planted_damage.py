"""Damage that was done to real weights on purpose is named by the health check, each time.

The models are whisper-tiny.en, taught for a minute by finetune() itself on real speech.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from whisper_peft import Health, finetune
from whisper_peft.reporting.run_report import read_report

pytestmark = pytest.mark.slow


def rows_of(prompts: list[dict[str, Any]], split: str) -> list[dict[str, Any]]:
    return [row for row in prompts if row["split"] == split]


@pytest.fixture(scope="module")
def damaged(
    tmp_path_factory: pytest.TempPathFactory, prompts_en: list[dict[str, Any]]
) -> Callable[..., Health]:
    """Return a function that teaches tiny.en English prompts with changed texts, and checks its health."""

    def teach(write: Callable[[str], str] = str, **sections: Any) -> Health:
        folder = tmp_path_factory.mktemp("damaged")
        rows = [
            {**row, "text": write(row["text"]) if row["split"] == "train" else row["text"]}
            for row in prompts_en
        ]
        (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        settings = {
            "data": {"source": str(folder / "rows.jsonl"), "train": "train", "eval": "test"},
            "model": {"name": "openai/whisper-tiny.en", "device": "cpu"},
            "adapter": {"r": 32},
            "train": {"max_steps": 40, "batch_size": 8, "learning_rate": 1e-3, "workers": 0},
            "eval": {"short_context": False, "health": "quick"},
            "merge": {"enabled": False},
        }
        merged = {name: {**fields, **sections.get(name, {})} for name, fields in settings.items()}
        run = finetune("lora-librispeech", **merged, output_dir=folder / "run")
        found = read_report(run.folder).health
        assert found is not None
        return found

    return teach


def verdicts(health: Health, name: str) -> set[str]:
    return {check.verdict for check in health.named(name)}


def test_a_model_that_lost_its_casing_is_named(damaged: Callable[..., Health]) -> None:
    health = damaged(data={"text_case": "lower"})
    assert "bad" in verdicts(health, "style")
    assert any("capital" in check.why for check in health.named("style") if check.verdict == "bad")


def test_a_model_that_loops_is_named(damaged: Callable[..., Health]) -> None:
    health = damaged(lambda text: " ".join([text] * 12))
    (check,) = health.named("loops")
    assert check.verdict == "bad"


def test_a_model_that_forgot_its_timestamps_is_named(damaged: Callable[..., Health]) -> None:
    health = damaged(train={"learning_rate": 1e-3, "max_steps": 60})
    (check,) = health.named("timestamps")
    assert check.verdict == "bad"


def test_a_model_tuned_on_its_test_set_is_named(damaged: Callable[..., Health]) -> None:
    health = damaged(data={"train": "test"})
    (check,) = health.named("leakage")
    assert check.verdict == "bad"
    assert "tuned on its test set" in check.why


def test_a_model_that_writes_one_sentence_for_everything_is_named(damaged: Callable[..., Health]) -> None:
    health = damaged(lambda text: "Thank you for watching.")
    assert verdicts(health, "loops") == {"bad"}
    assert verdicts(health, "target") == {"bad"}
    assert "bad" in verdicts(health, "retention")
