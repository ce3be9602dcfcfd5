"""The limits that a card tells agree with what it tells above them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from whisper_peft.evaluation.health.values import Check, Figure, Health
from whisper_peft.reporting.limits import limits
from whisper_peft.reporting.pages.model_card import write_model_card
from whisper_peft.reporting.run_report import MixedRecord, RunReport, read_report
from whisper_peft.types import LongFormProbe, Probes, SilenceProbe, TimestampProbe

BEYOND = "Speakers, recording conditions, domains and languages beyond that were not scored."

FIGURE = Figure("WER", "share", 0.1, 0.1, (-0.01, 0.01), 3, "utterances")

HEALTH = Health(
    "quick",
    (
        Check("target", "", "good", (FIGURE,), ""),
        Check("retention", "prompts (en), brought along", "good", (FIGURE,), ""),
        Check("style", "test", "good", (FIGURE,), ""),
        Check("style", "prompts (en), brought along", "good", (FIGURE,), ""),
        Check("hallucination", "", "good", (FIGURE,), ""),
        Check("long_form", "", "not measured", (), "no speech"),
    ),
    1.0,
)

PROBES = Probes(
    TimestampProbe(30, 0.5, 28, 0.5, 0.7), LongFormProbe(10, 676.0, 0.06, 0.05), SilenceProbe(40, 4, 9, 0.8)
)


def with_probes(report: RunReport, probes: Probes) -> RunReport:
    after = replace(report.evaluation.after, probes=probes)
    return report.model_copy(update={"evaluation": report.evaluation.model_copy(update={"after": after})})


def test_one_split_is_all_where_nothing_else_was_scored(run_folder: Path) -> None:
    report = read_report(run_folder).model_copy(update={"health": None})
    assert limits(report) == f"Only what stands above was measured, on test alone. {BEYOND}"


def test_what_the_health_check_heard_is_no_limit(run_folder: Path) -> None:
    report = read_report(run_folder).model_copy(update={"health": HEALTH})
    heard = "on test; prompts (en), brought along; and clips without speech"
    assert limits(report) == f"Only what stands above was measured, {heard}. {BEYOND}"


def test_what_the_probes_heard_is_no_limit(run_folder: Path) -> None:
    report = with_probes(read_report(run_folder).model_copy(update={"health": None}), PROBES)
    heard = "on test, windows of joined utterances, recordings of a minute and more and clips without speech"
    assert limits(report).startswith(f"Only what stands above was measured, {heard}.")
    little = with_probes(report, replace(PROBES, long_form=None))
    assert "a minute" not in limits(little)


def test_a_source_of_the_table_is_told_once(run_folder: Path) -> None:
    report = read_report(run_folder)
    after = replace(report.evaluation.after, sources={"old": report.evaluation.after})
    report = report.model_copy(
        update={
            "evaluation": report.evaluation.model_copy(update={"after": after}),
            "data": report.data.model_copy(
                update={"mixed": (MixedRecord(name="old", source="o", eval_split="test", share=0.1),)}
            ),
            "health": Health("quick", (Check("retention", "old", "good", (FIGURE,), ""),), 1.0),
        }
    )
    assert "on test and the sources of the table." in limits(report)


def test_where_nothing_was_scored_it_is_said(make_run: Callable[..., Path]) -> None:
    folder = make_run(evaluation=None, health=None)
    report = read_report(folder)
    assert limits(report) == "Only what stands above was measured; no speech was scored."
    assert limits(report) in write_model_card(report.to_dict(), folder).read_text(encoding="utf-8")


def test_the_card_tells_them(make_run: Callable[..., Path]) -> None:
    folder = make_run(health=HEALTH)
    text = write_model_card(read_report(folder).to_dict(), folder).read_text(encoding="utf-8")
    assert "on test; prompts (en), brought along; and clips without speech. Speakers," in text
    assert "alone" not in text.split("## Limits")[1].split("##")[0]
