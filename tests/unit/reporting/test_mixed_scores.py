"""Other speech in every view: beside the WER of the run, never in it."""

import json
from dataclasses import replace

import pytest

from whisper_peft.recipe.sections import Recipe
from whisper_peft.reporting.console.summary import summary
from whisper_peft.reporting.json_lines import read_predictions
from whisper_peft.reporting.mixed_scores import mixed_scores
from whisper_peft.reporting.pages.model_card import render_model_card
from whisper_peft.reporting.pages.run_page import write_page
from whisper_peft.reporting.run_report import MixedRecord, read_report, write_report

NAME = "old.speech <b>|"
"""A name with what a path in the report, a page and a table could trip over."""


@pytest.fixture
def folder(run_folder):
    """Return a run that was scored on other speech, of which a fifth was heard, and on more that was not."""
    report = read_report(run_folder)
    scored = {when: getattr(report.evaluation, when) for when in ("before", "after")}
    worse, same = (replace(scored["before"], wer=wer, utterances=60) for wer in (0.21, 0.2))
    worse = replace(worse, skipped={"no_text": 2})
    sources = {"before": {NAME: replace(same, wer=0.1), "kept": same}, "after": {NAME: worse, "kept": same}}
    evaluation = report.evaluation.model_copy(
        update={
            **{when: replace(scored[when], sources=sources[when]) for when in scored},
            "source_difference_intervals": {NAME: (0.05, 0.15), "kept": (-0.01, 0.02)},
        }
    )
    records = (
        MixedRecord(name=NAME, source="old", train_split="train", eval_split="test", share=0.2),
        MixedRecord(name="kept", source="kept", eval_split="dev", share=0.0),
        MixedRecord(name="unscored", source="c", train_split="train", share=0.1),
    )
    data = report.data.model_copy(update={"mixed": records})
    write_report(report.model_copy(update={"evaluation": evaluation, "data": data}), run_folder)
    return run_folder


def test_the_report_is_read_back_as_it_was_without_predictions(folder):
    report = read_report(folder)
    assert report.evaluation.before.sources[NAME].utterances == 60
    assert "predictions" not in json.dumps(report.to_dict())
    assert [one.name for one in mixed_scores(report)] == [NAME, "kept"]


def test_the_summary_says_what_was_forgotten_and_what_may_be_chance(folder):
    printed = summary(read_report(folder).to_dict())
    heard = f"{NAME} (20.0 % of an epoch), 60 utterances of test: WER 10.00 % -> 21.00 %"
    assert f"other speech  {heard}, change +5.00 points to +15.00 points: worse" in printed
    assert "kept (not learned), 60 utterances of dev: WER 20.00 % -> 20.00 %" in printed
    assert printed.splitlines()[-1].startswith("folder")
    assert "no clear change" in printed


def test_the_page_has_a_table_with_exact_values(folder):
    page = write_page(folder).read_text(encoding="utf-8")
    escaped = NAME.replace("<b>", "&lt;b&gt;")
    assert f'<data value="0.21" data-path="evaluation.after.sources.{escaped}.wer">21.00 %</data>' in page
    assert "+5.00 points</data> to" in page
    assert "<b>" not in page


def test_rows_of_other_speech_that_were_not_scored_are_told_with_it(folder):
    page = write_page(folder).read_text(encoding="utf-8")
    escaped = NAME.replace("<b>", "&lt;b&gt;")
    assert f"<h3>Scored rows of {escaped} left out</h3>" in page
    assert f'<data value="2" data-path="evaluation.after.sources.{escaped}.skipped.no_text">2</data>' in page
    assert page.count("<h3>Scored rows of ") == 2
    assert 'data-path="evaluation.after.sources.kept.skipped.unreadable"' in page


def test_the_card_has_a_table_and_names_its_limits(folder):
    card = render_model_card(read_report(folder), Recipe())
    row = next(line for line in card.splitlines() if "old.speech" in line)
    assert row.startswith(
        "| old.speech \\<b\\>\\| | 20.0 % of an epoch | 60 utterances of test | 10.00 % | 21.00 % |"
    )
    assert "on test, the sources of the table, " in card


def test_the_wer_of_the_run_has_no_part_of_it(folder, make_run):
    with_it = summary(read_report(folder).to_dict()).splitlines()
    without = summary(read_report(make_run()).to_dict()).splitlines()
    assert [line for line in with_it if not line.startswith("other speech")] == without


def test_predictions_are_those_of_one_source(folder):
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    other = [json.dumps({**json.loads(lines[-1]), "id": "old/1", "source": "old"})]
    (folder / "predictions.jsonl").write_text("\n".join([*lines, *other]), encoding="utf-8")
    assert "old/1" not in read_predictions(folder).after
    assert list(read_predictions(folder, "old").after) == ["old/1"]
