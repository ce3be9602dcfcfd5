"""What was learned, and how its text was put, on the page and in the card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.reporting.pages.page_sections import paths_equal_to_the_report, section, visible
from whisper_peft.reporting.learned_speech import learned_text
from whisper_peft.reporting.pages.model_card import write_model_card
from whisper_peft.reporting.run_report import DataRecord, MixedRecord, RunReport, read_report

CAPITALS = "capitals, without punctuation"
RESTORED = f"{CAPITALS}, learned as the untuned model writes it, where the words agree"

MIXED = (
    MixedRecord(
        name="old.speech <b>|",
        source="/speech/old",
        train_split="train-clean-100",
        share=0.33,
        hours=1.034,
        utterances=334,
        text_style=CAPITALS,
        text_case="restore",
        skipped={"no_text": 3},
    ),
    MixedRecord(name="streamed", source="c", train_split="train", eval_split="dev", share=0.1),
    MixedRecord(name="kept", source="d", eval_split="test", share=0.0, text_style=CAPITALS),
)


@pytest.fixture
def folder(run_folder: Path, make_run: Callable[..., Path]) -> Path:
    data = read_report(run_folder).data
    styled = {"text_style": CAPITALS, "text_case": "sentence", "mixed": MIXED}
    return make_run(data=data.model_copy(update=styled))


def card(folder: Path) -> str:
    return write_model_card(read_report(folder).to_dict(), folder).read_text(encoding="utf-8")


def test_the_page_has_a_row_for_each_source_that_was_learned_beside_the_main_one(folder: Path) -> None:
    shown = paths_equal_to_the_report(section(folder, "data"), folder)
    counted = {f"data.mixed.0.{name}" for name in ("share", "hours", "utterances")}
    assert counted | {"data.mixed.1.share", "data.mixed.2.share"} <= shown
    text = visible(section(folder, "data"))
    assert f"old.speech <b>| train-clean-100 33.0 % 1.034 334 {RESTORED}" in text
    assert "streamed train 10.0 % – – –" in text
    assert f"kept not learned 0.0 % – – {CAPITALS}" in text


def test_rows_that_were_left_out_of_another_source_are_told_with_it(folder: Path) -> None:
    found = section(folder, "data")
    assert "data.mixed.0.skipped.no_text" in paths_equal_to_the_report(found, folder)
    assert "Training rows of old.speech <b>| left out 3 no text" in visible(found)
    assert visible(found).count("Training rows of") == 1


def test_the_card_has_a_row_for_each_source_that_was_learned_beside_the_main_one(folder: Path) -> None:
    text = card(folder)
    assert f"| old.speech \\<b\\>\\| | train-clean-100 | 33.0 % | 1.034 | 334 | {RESTORED} |" in text
    assert "| streamed | train | 10.0 % | not counted | not counted | not told |" in text
    assert f"| kept | not learned | 0.0 % | – | – | {CAPITALS} |" in text
    assert "/speech/old" not in text


def test_a_run_on_one_source_has_no_table_of_others(run_folder: Path) -> None:
    assert "Learned beside it" not in section(run_folder, "data")
    assert "Learned beside it" not in card(run_folder)


def test_how_the_text_was_learned_is_told_in_the_words_of_the_terminal(folder: Path) -> None:
    learned = f"{CAPITALS}, learned in sentence case"
    assert learned in visible(section(folder, "data"))
    assert f"text: {learned}." in card(folder)


@pytest.mark.parametrize(
    ("case", "words"),
    [("as-is", ", learned as it is"), ("lower", ", learned in lower case"), (None, "")],
)
def test_a_report_without_the_case_of_the_text_tells_how_the_corpus_writes(
    case: str | None, words: str
) -> None:
    record = DataRecord(source="here", text_style=CAPITALS, text_case=case)
    assert learned_text(record) == f"{CAPITALS}{words}"
    assert learned_text(DataRecord(source="here", text_case=case)) is None


def test_an_older_report_is_read_without_the_case(run_folder: Path) -> None:
    plain = read_report(run_folder).to_dict()
    del plain["data"]["text_case"]
    assert RunReport.from_dict(plain).data.text_case is None
