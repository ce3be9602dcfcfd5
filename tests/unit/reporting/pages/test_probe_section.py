"""What the probes measured, on the page and in the card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.reporting.pages.page_sections import (
    paths_equal_to_the_report,
    report_leaves,
    section,
    visible,
)
from whisper_peft.reporting.pages.model_card import write_model_card
from whisper_peft.reporting.pages.run_page import write_page
from whisper_peft.reporting.probe_views import probe_rows
from whisper_peft.reporting.run_report import EvaluationRecord, read_report
from whisper_peft.types import LongFormProbe, Probes, SilenceProbe, TimestampProbe

BEFORE = Probes(
    TimestampProbe(30, 0.5, 28, 0.4859, 0.7),
    LongFormProbe(10, 676.45, 0.06392, 0.05725),
    SilenceProbe(40, 40, 967, 0.82342),
)
AFTER = Probes(
    TimestampProbe(30, 0.46667, 28, 0.27067, 0.93333),
    LongFormProbe(10, 676.45, 0.05781, 0.05725),
    SilenceProbe(40, 36, 36, 0.85054),
)


def probed(run_folder: Path, before: Probes | None, after: Probes | None) -> EvaluationRecord:
    evaluation = read_report(run_folder).evaluation
    results = {
        "before": replace(evaluation.before, probes=before),
        "after": replace(evaluation.after, probes=after),
    }
    return evaluation.model_copy(update=results)


@pytest.fixture
def folder(run_folder: Path, make_run: Callable[..., Path]) -> Path:
    return make_run(evaluation=probed(run_folder, BEFORE, AFTER))


def test_every_figure_of_the_probes_is_on_the_page_as_the_report_has_it(folder: Path) -> None:
    shown = paths_equal_to_the_report(section(folder, "probes"), folder)
    measured = {path for path in report_leaves(folder) if ".probes." in path}
    assert len(measured) == 26
    counts = ("windows", "boundaries", "recordings", "clips", "audio_seconds")  # of both, told once
    assert measured - shown == {
        path for path in measured if path.startswith("evaluation.before") and path.endswith(counts)
    }


def test_the_page_reads_before_and_after_and_of_how_many(folder: Path) -> None:
    text = visible(section(folder, "probes"))
    assert "recordings of a minute and more (11 min 16 s), and clips in which nobody speaks" in text
    assert "WER of recordings of a minute and more, each window alone 6.39 % 5.78 % 10 recordings" in text
    assert "Words on clips without speech 967 36 40 clips" in text


def test_the_card_has_a_line_for_each_figure(folder: Path) -> None:
    card = write_model_card(read_report(folder).to_dict(), folder).read_text(encoding="utf-8")
    assert (
        "| Windows with well-formed timestamps, written without rules | 50.0 % | 46.7 % | 30 windows |"
        in card
    )
    assert "| Words on clips without speech | 967 | 36 | 40 clips |" in card
    distance = "Distance of the nearest timestamp from where utterances were joined"
    assert f"| {distance} | 0.49 s | 0.27 s | 28 boundaries |" in card


def test_probes_of_one_side_and_of_little_speech_leave_out_what_was_not_measured(
    run_folder: Path, make_run: Callable[..., Path]
) -> None:
    little = Probes(TimestampProbe(2, 0.5, 0, None, None), None, BEFORE.silence)
    folder = make_run(evaluation=probed(run_folder, little, None))
    rows = probe_rows(read_report(folder).evaluation)
    assert [row.figure.field.partition(".")[0] for row in rows] == ["timestamps", *["silence"] * 3]
    assert {row.latest for row in rows} == {"before"}
    text = visible(section(folder, "probes"))
    assert "Words on clips without speech 967 – 40 clips" in text
    assert "recordings of a minute and more, and" in text
    card = write_model_card(read_report(folder).to_dict(), folder).read_text(encoding="utf-8")
    assert "| Words on clips without speech | 967 | not measured | 40 clips |" in card


def test_a_run_without_probes_has_no_such_section(run_folder: Path) -> None:
    assert 'id="probes"' not in write_page(run_folder).read_text(encoding="utf-8")
    assert "Probes" not in write_model_card(read_report(run_folder).to_dict(), run_folder).read_text()
