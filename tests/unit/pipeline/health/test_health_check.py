"""The health of real runs: inside finetune, and afterwards by its own verb."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import whisper_peft
from whisper_peft import finetune
from whisper_peft.errors import DataError, EvaluationError, RecipeError
from whisper_peft.evaluation.health.checks import CHECKS
from whisper_peft.reporting.run_report import read_report

pytestmark = pytest.mark.usefixtures("small_health_budget")


@pytest.fixture(scope="module")
def run(small_health_budget, prompts_en, tmp_path_factory):
    folder = tmp_path_factory.mktemp("health")
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in prompts_en), encoding="utf-8")
    return finetune(
        "lora-librispeech",
        model={"name": "openai/whisper-tiny.en", "device": "cpu"},
        data={"source": str(path), "train": "train", "eval": "test"},
        adapter={"r": 4, "targets": "attention"},
        train={"max_steps": 2, "batch_size": 2, "workers": 0},
        eval={"max_utterances": 6},
        merge={"clips": 1},
        output_dir=folder / "run",
    )


def test_a_run_ends_with_its_health_in_every_view(run):
    health = run.report["health"]
    assert health["level"] == "quick"
    assert {check["name"] for check in health["checks"]} == {*CHECKS} - {"language"}
    assert run.report["cost"]["stages"]["health"]["seconds"] == pytest.approx(health["seconds"], abs=2)
    for view in ("report.html", "README.md"):
        assert "Health" in (run.folder / view).read_text(encoding="utf-8")
    assert "health  " in run.summary()


def test_what_two_steps_do_not_change_is_good_or_unsure_and_never_bad(run):
    health = read_report(run.folder).health
    assert [check for check in health.checks if check.verdict == "bad"] == []
    measured = {check.name for check in health.checks if check.verdict != "not measured"}
    assert {"target", "leakage", "retention", "hallucination", "loops", "timestamps", "style"} <= measured


def test_the_target_of_the_health_is_the_score_of_the_run(run):
    evaluation = run.report["evaluation"]
    (target,) = (check for check in run.report["health"]["checks"] if check["name"] == "target")
    wer, cer = target["figures"]
    assert (wer["before"], wer["after"]) == pytest.approx(
        (evaluation["before"]["wer"], evaluation["after"]["wer"])
    )
    assert cer["after"] == pytest.approx(evaluation["after"]["cer"])
    assert wer["change"] == pytest.approx(evaluation["difference_interval"])


def test_what_a_cut_context_costs_has_the_interval_of_the_utterances_at_both(run):
    evaluation = run.report["evaluation"]
    (context,) = (check for check in run.report["health"]["checks"] if check["name"] == "context")
    wer = context["figures"][0]
    assert (wer["before"], wer["after"]) == pytest.approx(
        (evaluation["after"]["wer"], evaluation["after_short"]["wer"])
    )
    low, high = wer["change"]
    assert low <= wer["after"] - wer["before"] <= high


def test_the_verb_finds_what_the_run_found_and_hears_other_speech_that_is_named(run, prompts_fr, tmp_path):
    again = whisper_peft.health(run.folder)
    found = {(check["name"], check["subject"]): check for check in run.report["health"]["checks"]}
    for check in again.to_dict()["checks"]:
        assert json.loads(json.dumps(check)) == found[check["name"], check["subject"]]
    rows = [{"audio": row["file_name"], "text": row["text"]} for row in prompts_fr[:3]]
    named = whisper_peft.health(run.folder, retention={"source": rows, "eval": "all", "name": "mine"})
    (retention,) = named.named("retention")
    assert (retention.subject, retention.figures[0].count) == ("mine", 3)
    assert read_report(run.folder).health == named


def test_a_wrong_request_is_refused_before_anything_is_loaded(run, tmp_path, monkeypatch):
    monkeypatch.setattr("whisper_peft.pipeline.health.health_check.load_run_or_model", None)
    with pytest.raises(EvaluationError, match="is no run folder"):
        whisper_peft.health(tmp_path)
    with pytest.raises(RecipeError, match="retention: evl"):
        whisper_peft.health(run.folder, retention={"source": "a", "evl": "b"})
    with pytest.raises(DataError):
        whisper_peft.health(run.folder, retention={"source": str(Path("no/such/speech"))})
    with pytest.raises(RecipeError, match=r"eval\.health"):
        whisper_peft.health(run.folder, eval={"health": "thorough"})
