from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whisper_peft.evaluation.evaluator import evaluate_utterances
from whisper_peft.pipeline.runs.error_breakdown import TRAINING_WORDS_FILE, break_down_run, write_scored
from whisper_peft.pipeline.runs.first_look import looked_over
from whisper_peft.pipeline.runs.page_recordings import page_recordings
from whisper_peft.pipeline.runs.run_views import report
from whisper_peft.pipeline.runs.speech import open_speech
from whisper_peft.recipe.sections import DataSection, EvalSection, Recipe
from whisper_peft.recipe.yaml_files import write_recipe
from whisper_peft.reporting.pages.recordings import AUDIO_BUDGET_BYTES
from whisper_peft.reporting.run_report import (
    EvaluationRecord,
    RunRecord,
    RunReport,
    environment_meta,
    read_report,
    write_report,
)
from whisper_peft.types import EvalResult

SECTION = EvalSection(batch_size=8, bootstrap_samples=100)


def recipe_of(rows: list[dict[str, Any]]) -> Recipe:
    source = [
        {
            "audio": row["file_name"],
            "text": row["text"],
            "split": row["split"],
            "id": Path(row["file_name"]).stem,
        }
        for row in rows
    ]
    return Recipe(data=DataSection(source=source), eval=SECTION)


@pytest.fixture(scope="module")
def some_rows(prompts_en: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a dozen English prompts of each split."""
    return [row for name in ("train", "test") for row in [r for r in prompts_en if r["split"] == name][:12]]


@pytest.fixture(scope="module")
def scored(tiny_en: Any, some_rows: list[dict[str, Any]]) -> EvalResult:
    """Return what tiny.en makes of the prompts."""
    speech = open_speech(recipe_of(some_rows))
    return evaluate_utterances(tiny_en, speech.eval, section=SECTION, language=None, task="transcribe")


@pytest.fixture
def run_folder(tiny_en: Any, some_rows: list[dict[str, Any]], scored: EvalResult, tmp_path: Path) -> Path:
    """Return a run folder as `finetune` leaves it after scoring."""
    speech = open_speech(recipe_of(some_rows))
    record = EvaluationRecord(after=scored, scored_split=speech.eval.split)
    record = write_scored(tmp_path, record, speech.check(tiny_en), samples=100)
    run = RunRecord(name="prompts", folder=str(tmp_path), command="", started_at="2025-01-01")
    write_report(RunReport(run=run, evaluation=record, meta=environment_meta(0)), tmp_path)
    write_recipe(recipe_of(some_rows), tmp_path / "recipe.yaml")
    return tmp_path


def test_noise_and_confidence_stand_beside_each_prediction(scored: EvalResult) -> None:
    assert all(one.snr_db is not None and 0 < one.snr_db < 100 for one in scored.predictions)
    assert all(-3 < one.mean_log_probability < 0 for one in scored.predictions)
    assert not any(one.looping for one in scored.predictions)


def test_report_makes_the_breakdown_again(run_folder: Path) -> None:
    first = read_report(run_folder)
    assert first.evaluation.breakdown is not None
    assert "rarity" in first.evaluation.breakdown.slices
    lost = first.evaluation.model_copy(update={"breakdown": None})
    write_report(first.model_copy(update={"evaluation": lost}), run_folder)
    report(run_folder, audio=False)
    again = read_report(run_folder).evaluation.breakdown
    assert again.slices.keys() == first.evaluation.breakdown.slices.keys()
    assert again.calibration["after"].error == first.evaluation.breakdown.calibration["after"].error


def test_training_words_are_those_of_the_scored_references(
    run_folder: Path, some_rows: list[dict[str, Any]]
) -> None:
    counts = json.loads((run_folder / TRAINING_WORDS_FILE).read_text())
    learned = " ".join(row["text"] for row in some_rows if row["split"] == "train").lower().split()
    assert counts["the"] == learned.count("the")
    assert min(counts.values()) == 0


def test_run_without_predictions_has_no_breakdown(tmp_path: Path, scored: EvalResult) -> None:
    assert break_down_run(tmp_path, EvaluationRecord(after=scored, scored_split="test"), 10) is None


def test_page_plays_the_recordings_of_the_run(run_folder: Path, some_rows: list[dict[str, Any]]) -> None:
    recordings = page_recordings(run_folder, recipe_of(some_rows).data)
    assert len(recordings.scored) == 12
    assert recordings.notes == ()
    sizes = [len(clip.audio) for clip in recordings.scored.values()]
    assert max(sizes) < 60_000
    assert all(clip.picture[1:4] == b"PNG" for clip in recordings.scored.values())


def test_recordings_of_other_words_are_not_played(run_folder: Path, some_rows: list[dict[str, Any]]) -> None:
    changed = [{**row, "text": row["text"] + " indeed"} for row in some_rows]
    recordings = page_recordings(run_folder, recipe_of(changed).data)
    assert recordings.scored == {}
    assert "12 have no recording here" in recordings.notes[0]


def test_page_of_a_source_that_has_gone_says_so(run_folder: Path) -> None:
    gone = Recipe(data=DataSection(source=run_folder / "gone"))
    write_recipe(gone, run_folder / "recipe.yaml")
    page = report(run_folder).read_text()
    assert "The recordings cannot be played here" in page
    assert "<audio" not in page


def test_page_of_speech_that_stood_in_memory_says_so(run_folder: Path) -> None:
    assert "The recordings cannot be played here" in report(run_folder).read_text()


def test_recordings_stay_within_the_budget(
    run_folder: Path, some_rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whisper_peft.pipeline.runs.page_recordings.AUDIO_BUDGET_BYTES", 40_000)
    recordings = page_recordings(run_folder, recipe_of(some_rows).data)
    assert 0 < len(recordings.scored) < 12
    assert sum(len(clip.audio) for clip in recordings.scored.values()) < 50_000
    assert AUDIO_BUDGET_BYTES == 8 * 2**20


def test_rows_to_check_are_listed_with_their_sound(
    tiny_en: Any, some_rows: list[dict[str, Any]], scored: EvalResult, tmp_path: Path
) -> None:
    twice = [*some_rows, some_rows[0]]
    speech = open_speech(recipe_of(twice))
    rows, _ = looked_over(speech.check(tiny_en), speech.eval)
    assert rows.suspects
    write_scored(tmp_path, EvaluationRecord(after=scored, scored_split="test"), rows, samples=10)
    assert (tmp_path / "suspicious.csv").is_file()
    recordings = page_recordings(tmp_path, speech.recipe.data)
    assert set(recordings.suspects) == {row.id for row in rows.suspects}
