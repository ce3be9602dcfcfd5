"""Transcribing at cut context only where the run measured that it does no harm."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import whisper_peft
from whisper_peft.errors import RecipeError
from whisper_peft.pipeline import operations
from whisper_peft.pipeline.context_choice import (
    FIGURES_FILE,
    MARGIN,
    ContextFigures,
    read_figures,
    write_figures,
)

MERGED = Path("merged")


@pytest.mark.parametrize(
    ("cut", "chosen"), [(0.05, "cut"), (0.07 + MARGIN, "cut"), (0.0751, "full"), (0.8, "full")]
)
def test_the_margin_decides(cut: float, chosen: str) -> None:
    context, reason = ContextFigures(full=0.07, cut=cut).choose()
    assert context == chosen
    assert reason.startswith(f"{chosen} audio context")
    assert f"{100 * cut:.2f} %" in reason


def test_a_merged_folder_brings_its_figures(tmp_path: Path) -> None:
    figures = ContextFigures(full=0.07, cut=0.074)
    write_figures(figures, tmp_path)
    assert read_figures(tmp_path) == figures


def test_a_model_that_was_not_scored_has_no_figures(tmp_path: Path) -> None:
    write_figures(None, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert read_figures(tmp_path) is None


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the contexts at which recordings were transcribed; no weights are loaded."""
    seen: list[str] = []

    def transcribe_files(*_: Any, audio_context: str, **__: Any) -> list[Any]:
        seen.append(audio_context)
        return []

    monkeypatch.setattr(operations, "transcribe_files", transcribe_files)
    monkeypatch.setattr(operations, "load", lambda *_, **__: SimpleNamespace())
    return seen


def test_auto_follows_the_figures_and_says_so(
    contexts: list[str], tmp_path: Path, prompts_en: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    recording = prompts_en[0]["file_name"]
    for cut in (0.071, 0.2):
        write_figures(ContextFigures(full=0.07, cut=cut), tmp_path)
        whisper_peft.transcribe(tmp_path, [recording])
    (tmp_path / FIGURES_FILE).unlink()
    whisper_peft.transcribe(tmp_path, [recording])
    whisper_peft.transcribe(tmp_path, [recording], audio_context="cut")
    assert contexts == ["cut", "full", "full", "cut"]
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split(":")[0] for line in said.err.splitlines()] == [
        "cut audio context",
        "full audio context",
    ]


def test_an_unknown_context_is_refused(contexts: list[str], prompts_en: list[dict[str, Any]]) -> None:
    with pytest.raises(RecipeError, match=r"'short'.*Known: auto, cut, full"):
        whisper_peft.transcribe("model", [prompts_en[0]["file_name"]], audio_context="short")  # type: ignore[arg-type]
