"""A tuned model that writes otherwise is told of, and one that does not is not."""

from dataclasses import replace

import pytest

from whisper_peft.evaluation.style import style_profile
from whisper_peft.reporting.console.summary import summary
from whisper_peft.reporting.run_report import EvaluationRecord
from whisper_peft.reporting.style_drift import STYLE_MEASURES, style_drift
from whisper_peft.types import EvalResult, StyleProfile

CASED = StyleProfile(0.2, 0.01, 1.0, 0.92, 6.0, 2.0)
CAPITALS = StyleProfile(1.0, 0.95, 1.0, 0.03, 0.1, 0.0)


def scored(style, utterances=20):
    return EvalResult(
        *(0.1, 0.05, 0.2, 0.1, (0.08, 0.12), utterances, "english", "en", "full", 9.0, 10**9, 1, 1, 1, 20),
        style=style,
    )


def record(before, after):
    return EvaluationRecord(before=scored(before), after=scored(after), scored_split="test")


def test_lost_punctuation_is_said_in_shares():
    drift = style_drift(record(CASED, CAPITALS))
    assert "92 % to 3 % of transcripts end in . ? !" in drift
    assert "1 % to 95 % of words are in CAPITALS" in drift
    assert "start with a capital" not in drift  # both always do


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("ends_in_mark", 0.73, False),
        ("ends_in_mark", 0.71, True),
        ("commas_per_100_words", 2.1, False),
        ("commas_per_100_words", 1.9, True),
        ("digits_per_100_words", 6.1, True),
    ],
)
def test_small_changes_are_not_said(field, value, told):
    assert (style_drift(record(CASED, replace(CASED, **{field: value}))) is not None) is told


def test_few_commas_more_or_less_are_nothing():
    few, fewer = replace(CASED, commas_per_100_words=0.9), replace(CASED, commas_per_100_words=0.1)
    assert style_drift(record(few, fewer)) is None


def test_few_transcripts_say_too_little():
    few = EvaluationRecord(before=scored(CASED, 19), after=scored(CAPITALS, 19), scored_split="test")
    assert style_drift(few) is None


def test_reports_without_a_style_have_no_drift():
    assert style_drift(record(None, CASED)) is style_drift(None) is None


def test_every_field_of_a_style_is_shown():
    assert set(STYLE_MEASURES) == set(StyleProfile.__dataclass_fields__)


def test_page_card_and_summary_tell_the_drift(make_run, prompts_fr, run_folder):
    from whisper_peft.reporting.pages.model_card import write_model_card
    from whisper_peft.reporting.pages.run_page import write_page
    from whisper_peft.reporting.run_report import read_report

    report = read_report(run_folder)
    after = replace(report.evaluation.after, style=CAPITALS)
    before = replace(report.evaluation.before, style=CASED, characters_as_words=True)
    evaluation = report.evaluation.model_copy(update={"before": before, "after": after})
    folder = make_run(evaluation=evaluation)
    report = read_report(folder)
    assert report.evaluation.after.style == CAPITALS
    page = write_page(folder).read_text(encoding="utf-8")
    card = write_model_card(report.to_dict(), folder).read_text(encoding="utf-8")
    for text in (page, summary(report.to_dict())):
        assert "92 % to 3 % of transcripts" in text
    assert "of transcripts end in . ? \\!" in card or "of transcripts end in . ? !" in card
    assert 'data-path="evaluation.before.style.ends_in_mark"' in page


def test_style_is_of_what_was_written():
    assert style_profile(["NO MARKS"]).all_caps_words == 1.0
