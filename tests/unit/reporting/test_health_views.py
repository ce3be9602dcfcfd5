"""Health is told alike on the page, the card, in the terminal and in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import whisper_peft
from whisper_peft.cli import main
from whisper_peft.evaluation.health.values import Check, Figure, Health
from whisper_peft.reporting.console.summary import summary
from whisper_peft.reporting.health_views import (
    check_text,
    figure_text,
    health_lines,
    overall,
    signed,
    todo_text,
    unmeasured,
)
from whisper_peft.reporting.pages.model_card import write_model_card
from whisper_peft.reporting.pages.run_page import write_page
from whisper_peft.reporting.run_report import read_report


def test_every_check_has_a_line_with_verdict_figures_interval_count_and_what_to_do(run_folder: Path) -> None:
    report = read_report(run_folder)
    assert report.health is not None
    told = summary(report.to_dict())
    assert "health        1 bad, 2 watch, 2 good, 1 not measured (quick, 12.6 s)" in told
    line = next(line for line in told.splitlines() if line.startswith("bad"))
    assert "WER 3.24 % -> 25.13 % (+10.50 points to +31.20 points, 60 utterances)" in line
    assert "-> replay a tenth to a fifth" in told
    assert "see docs/how-to/forgetting.md" in told
    assert len([*health_lines(report.health)]) == 1 + 6 + 3


def test_the_page_shows_every_verdict_with_its_reason_and_escapes_it(run_folder: Path) -> None:
    page = write_page(run_folder).read_text(encoding="utf-8")
    section = page[page.index('id="health"') : page.index("</section>", page.index('id="health"'))]
    found = re.findall(r'<article class="check ([a-z-]+)">', section)
    assert found == ["good", "bad", "watch", "watch", "good", "not-measured"]
    assert "<script>" not in section
    assert section.count("What to do:") == 3
    assert "docs/how-to/forgetting.md" in section
    assert 'data-path="health.checks.1.figures.0.change.1">+31.20 points<' in section
    assert "the model was not tuned on that" in section


def test_every_how_to_of_the_page_is_linked_to_its_page_in_the_repository(
    run_folder: Path, root: Path
) -> None:
    page = write_page(run_folder).read_text(encoding="utf-8")
    section = page[page.index('id="health"') : page.index("</section>", page.index('id="health"'))]
    (address,) = re.findall(
        r'^Repository = "(.*)"', (root / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    links = re.findall(r'<a href="([^"]*)"><code>([^<]*)</code></a>', section)
    assert len(links) == section.count("docs/how-to/") / 2 == 4
    for link, path in links:
        assert link == f"{address}/blob/main/{path}"


def test_one_of_a_thing_is_told_of_one(run_folder: Path) -> None:
    ends = Figure("WER", "share", 0.25, 0.5, (0.1, 0.3), 1, "ends of utterances")
    assert figure_text(ends).endswith(", 1 end of an utterance)")
    assert re.search(r">1</data> clip</td>", write_page(run_folder).read_text(encoding="utf-8"))


def test_the_card_tells_what_was_measured_and_names_what_was_not(run_folder: Path) -> None:
    report = read_report(run_folder)
    card = write_model_card(report.to_dict(), run_folder).read_text(encoding="utf-8")
    assert "## Health" in card
    assert "* bad: Retention" in card
    assert "Not measured: Short against full context." in card


def test_a_run_without_a_check_has_no_section(make_run: Callable[..., Path]) -> None:
    folder = make_run(health=None)
    assert 'id="health"' not in write_page(folder).read_text(encoding="utf-8")
    assert "health" not in summary(read_report(folder).to_dict())


def test_health_survives_its_report(run_folder: Path) -> None:
    health = read_report(run_folder).health
    assert health is not None
    assert health.verdict == "bad"
    assert json.loads(json.dumps(health.to_dict()))["verdict"] == "bad"
    assert [check.verdict for check in health.named("retention")] == ["bad"]


def test_texts_of_single_values() -> None:
    figure = Figure("WER", "share", None, 0.5, None, 3, "rows")
    assert figure_text(figure) == "WER 50.00 % (3 rows)"
    check = Check("loops", "", "bad", (figure,), "they loop", "look", "hallucination")
    assert check_text(check) == "Loops: WER 50.00 % (3 rows): they loop"
    assert todo_text(check) == "look; see docs/how-to/hallucination.md"
    assert overall(Health("quick", (), 0.0)) == unmeasured(Health("quick", (), 0.0)) == ""
    assert signed(0.0) == "+0"


def test_the_words_of_the_command_line_reach_the_function(monkeypatch, tmp_path, capsys) -> None:
    seen = {}

    def stand_in(run, **given):
        seen.update(given, run=run)
        return Health("full", (Check("loops", "", "good", (), "transcripts end"),), 1.0)

    monkeypatch.setattr(whisper_peft, "health", stand_in)
    words = "health RUN --eval.health full --retention.source EN --retention.language en --json"
    main(args=[*words.split(), str(tmp_path / "h.json")])
    assert seen == {
        "run": "RUN",
        "eval": {"health": "full"},
        "retention": {"source": "EN", "language": "en"},
    }
    assert "good          Loops: transcripts end" in capsys.readouterr().out
    assert json.loads((tmp_path / "h.json").read_text())["verdict"] == "good"
