"""What a run was expected to take and what it took, stage by stage, on the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.unit.reporting.pages.page_sections import (
    paths_equal_to_the_report,
    report_leaves,
    section,
    visible,
)
from whisper_peft.measuring import StageCost
from whisper_peft.reporting.pages.run_page import write_page
from whisper_peft.reporting.run_report import CostRecord, ForecastRecord

GIB = 2**30

FORECAST = ForecastRecord(
    peak_memory_bytes=2 * GIB,
    seconds=780.7,
    step_seconds=5.5,
    stages={
        "load": StageCost(1.3, GIB),
        "restore text of old.speech <b>": StageCost(327.8, 3 * GIB // 2),
        "train": StageCost(231.3, 2 * GIB),
        "merge": StageCost(29.9, GIB),
    },
)
COST = CostRecord(
    peak_memory_bytes=5 * GIB // 2,
    stages={
        "load": StageCost(3.3, GIB),
        "restore text of old.speech <b>": StageCost(347.4, 2 * GIB),
        "train": StageCost(361.0, 5 * GIB // 2),
        "health": StageCost(91.2, 5 * GIB // 2),
    },
)


def test_every_figure_of_the_price_is_on_the_page_as_the_report_has_it(make_run: Callable[..., Path]) -> None:
    folder = make_run(forecast=FORECAST, cost=COST)
    priced = {path for path in report_leaves(folder) if path.startswith(("forecast.", "cost."))}
    assert len(priced) == 20
    assert paths_equal_to_the_report(section(folder, "cost"), folder) == priced | {"run.seconds"}


def test_each_stage_has_what_was_expected_beside_what_it_took(make_run: Callable[..., Path]) -> None:
    text = visible(section(make_run(forecast=FORECAST, cost=COST), "cost"))
    assert "restore text of old.speech <b> 5 min 28 s 5 min 47 s 1.50 GiB 2.00 GiB" in text
    assert "merge 29.9 s – 1.00 GiB –" in text
    assert "health – 1 min 31 s – 2.50 GiB" in text
    assert "The whole run 13 min 01 s 3 min 42 s 2.00 GiB 2.50 GiB" in text
    assert "A step was expected to take 5.5 s." in text


def test_a_run_that_was_stopped_shows_what_was_expected(make_run: Callable[..., Path]) -> None:
    assert "train 3 min 51 s – 2.00 GiB –" in visible(section(make_run(forecast=FORECAST), "cost"))


def test_a_run_without_a_forecast_shows_what_it_took(make_run: Callable[..., Path]) -> None:
    text = visible(section(make_run(cost=COST), "cost"))
    assert "train – 6 min 01 s – 2.50 GiB" in text
    assert "A step" not in text


def test_a_report_without_either_has_no_such_section(run_folder: Path) -> None:
    assert 'id="cost"' not in write_page(run_folder).read_text(encoding="utf-8")
