from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.reporting.pages.page_sections import section, visible
from whisper_peft.errors import StorageError
from whisper_peft.reporting.console.summary import summary
from whisper_peft.reporting.pages.model_card import escape_markdown, write_model_card
from whisper_peft.reporting.run_report import EvaluationRecord, RunReport, read_report
from whisper_peft.reporting.verdict import caution, short_context, verdict
from whisper_peft.types import EvalResult, MergeResult


def scored(wer: float) -> EvalResult:
    return EvalResult(
        wer, wer / 2, wer, wer, (wer * 0.8, wer * 1.2), 50, "marks", "fr", "full", 9.0, 1, 1, 1, 1, 1
    )


def evaluation(before: float | None, after: float | None, **more: Any) -> EvaluationRecord:
    return EvaluationRecord(
        before=None if before is None else scored(before),
        after=None if after is None else scored(after),
        scored_split="test",
        **more,
    )


def lines(report: RunReport) -> dict[str, str]:
    text = summary(report.to_dict())
    return {line[:14].strip(): line[14:] for line in text.splitlines()}


@pytest.fixture
def report(run_folder: Path) -> RunReport:
    return read_report(run_folder)


def test_summary_states_what_the_report_holds(report: RunReport) -> None:
    printed = lines(report)
    before, after = report.evaluation.before.wer, report.evaluation.after.wer
    assert printed["WER"] == f"{before:.2%} -> {after:.2%} ({after / before - 1:+.1%} relative)".replace(
        "%", " %"
    )
    assert printed["trainable"] == "3,538,944 of 76,132,352 parameters (4.65 %)"
    assert (
        printed["training"] == "72 steps, 4 epochs in 2 min 29 s, stopped by max_steps; loss 2.427 -> 0.3712"
    )
    assert printed["speed"] == "12.34 audio-seconds per second, data wait 1.3 %"
    assert printed["peak memory"] == "1.97 GiB"
    assert printed["skipped"] == "training rows: 4 (2 too long, 1 empty text, 1 silent)"
    assert "transcripts equal on 8 clips" in printed["merge"]
    assert printed["scored on"].startswith("53 utterances of test: marks normaliser")
    assert list(printed)[-1] == "folder"


def test_rise_is_called_worse(report: RunReport) -> None:
    risen = report.model_copy(update={"evaluation": evaluation(0.1, 0.12)})
    assert lines(risen)["WER"] == "10.00 % -> 12.00 % (+20.0 % relative, worse)"
    assert "rose from 10.00 % to 12.00 %" in verdict(risen.evaluation)
    assert "Training made this split worse" in verdict(risen.evaluation)


def test_interval_around_zero_is_called_chance(report: RunReport) -> None:
    unclear = evaluation(0.1, 0.09, difference_interval=(-0.03, 0.01))
    assert "may be chance" in lines(report.model_copy(update={"evaluation": unclear}))["of change"]
    assert "contains zero" in verdict(unclear)
    assert "leaves out zero" in verdict(evaluation(0.1, 0.05, difference_interval=(-0.07, -0.03)))


def test_zero_before_gives_no_relative_change(report: RunReport) -> None:
    perfect = report.model_copy(update={"evaluation": evaluation(0.0, 0.02)})
    assert lines(perfect)["WER"] == "0.00 % -> 2.00 %"
    assert verdict(perfect.evaluation).startswith("The WER rose from 0.00 % to 2.00 % (+2.00 points).")
    assert verdict(evaluation(0.0, 0.0)) == "The WER stayed at 0.00 %."


@pytest.mark.parametrize(
    ("before", "after", "wer"),
    [
        (None, 0.1, "not measured -> 10.00 %"),
        (0.1, None, "10.00 % -> not measured"),
        (None, None, "not measured"),
    ],
)
def test_what_was_not_measured_is_said(
    report: RunReport, before: float | None, after: float | None, wer: str
) -> None:
    partial = report.model_copy(update={"evaluation": evaluation(before, after), "merge": None})
    printed = lines(partial)
    assert printed["WER"] == wer
    assert "merge" not in printed
    assert "not measured" in verdict(partial.evaluation)


def test_interrupted_run_says_so(report: RunReport) -> None:
    stopped = replace(report.train, stopped_by="interrupt", final_loss=float("nan"))
    printed = lines(report.model_copy(update={"train": stopped, "evaluation": evaluation(0.1, None)}))
    assert "stopped by interrupt; loss 2.427 -> not a number" in printed["training"]


def test_run_without_training_says_so(make_run: Callable[..., Path]) -> None:
    printed = lines(read_report(make_run(train=None, evaluation=None, merge=None, data=None, adapter=None)))
    assert printed["training"] == "did not end"
    assert printed["WER"] == "not measured"


def test_differing_transcripts_are_counted(report: RunReport) -> None:
    merge = MergeResult("merged", 0.03, False, 8, ("a", "b"), 0.05)
    assert "transcripts differ on 2 of 8 clips" in lines(report.model_copy(update={"merge": merge}))["merge"]


def test_choice_on_the_scored_split_is_a_caution(report: RunReport) -> None:
    assert caution(report) is None
    same = report.evaluation.model_copy(update={"selected_split": "test"})
    warned = report.model_copy(update={"evaluation": same})
    assert "optimistic" in lines(warned)["caution"]
    assert caution(warned.model_copy(update={"train": replace(report.train, best_step=None)})) is None


def test_wrong_report_is_one_clear_error() -> None:
    with pytest.raises(StorageError, match="run: Field required"):
        summary({})


def test_price_of_leaving_quantised_weights_is_told(report: RunReport) -> None:
    merge = MergeResult("merged", 2e-05, True, 8, (), 0.05, 1.25, 0.75)
    told = lines(report.model_copy(update={"merge": merge}))["merge"]
    assert told.endswith("from the quantised model logits differ by at most 1.2, 75 % of transcripts equal")


def test_the_score_at_cut_context_is_told_in_one_line_everywhere(make_run: Callable[..., Path]) -> None:
    full = evaluation(0.2, 0.1)
    short = replace(scored(0.11), audio_context="cut", rtfx=40.0, looping=0)
    both = full.model_copy(update={"after_short": short})
    sentence = "WER 11.00 % instead of 10.00 %, 40 audio-seconds per second instead of 9"
    assert short_context(both) == sentence
    assert short_context(full) is None
    folder = make_run(evaluation=both)
    report = read_report(folder)
    assert f"cut context   {sentence}" in summary(report.to_dict())
    assert escape_markdown(sentence) in write_model_card(report.to_dict(), folder).read_text()
    assert sentence in visible(section(folder, "outcome"))


def test_loops_at_cut_context_are_counted() -> None:
    both = evaluation(None, 0.1, after_short=replace(scored(0.8), looping=4))
    assert str(short_context(both)).endswith(", 4 transcripts loop")
    one = both.model_copy(update={"after_short": replace(both.after_short, looping=1)})
    assert str(short_context(one)).endswith(", 1 transcript loops")


def test_steps_that_were_left_out_and_halved_batches_are_told(report: RunReport) -> None:
    assert not {"left out", "out of memory"} & lines(report).keys()
    assert report.train is not None
    hard = replace(report.train, refused_updates=12, spikes=2, rollbacks=1, micro_batch_parts=4)
    told = lines(report.model_copy(update={"train": hard}))
    assert told["left out"] == "12 steps changed no weight, 2 as spikes; went back 1 times"
    assert told["out of memory"] == "micro-batches were dealt into 4 parts"
