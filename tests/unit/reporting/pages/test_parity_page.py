"""The parity table: one truth in JSON, readable as Markdown and as a page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from whisper_peft.export_types import DifferingTranscript, ParityRow, ParityTable
from whisper_peft.reporting.pages.parity_page import (
    PARITY_FILE,
    PARITY_MARKDOWN,
    PARITY_PAGE,
    parity_cells,
    parity_markdown,
    render_parity,
    short_contexts,
    write_parity,
)

MODEL = ParityRow(
    "model",
    "float32",
    "whisper-peft",
    "0.1",
    "runs/demo",
    4_000_000,
    1.0,
    1024**3,
    10.0,
    0.1,
    1.0,
    (),
    None,
    None,
    0.0,
    (0.0, 0.0),
)
GGML = replace(
    MODEL,
    format="ggml",
    quantization="f16",
    runtime="whisper.cpp",
    equal=0.5,
    differing=(DifferingTranscript("clip<1>", "This kid's need it", "These kids need it & more"),),
    weights_identical=True,
)


@pytest.fixture
def table() -> ParityTable:
    rows = (MODEL, GGML, replace(GGML, context="short", rtfx=40.0, differing=()))
    return ParityTable("runs/demo", 2, 8.0, "english", 1, "a CPU, 2 cores", rows)


def test_all_three_files_are_written(table: ParityTable, tmp_path: Path) -> None:
    page = write_parity(table, tmp_path)
    assert page.name == PARITY_PAGE
    plain = json.loads((tmp_path / PARITY_FILE).read_text(encoding="utf-8"))
    assert plain == json.loads(json.dumps(table.to_dict()))
    assert (tmp_path / PARITY_MARKDOWN).read_text(encoding="utf-8") == parity_markdown(table)


def test_every_difference_stands_in_markdown_with_both_texts(table: ParityTable) -> None:
    text = parity_markdown(table)
    assert "| ggml | f16 | 30 s |" in text
    assert "* model: This kid's need it" in text
    assert "* export: These kids need it & more" in text


def test_markdown_tells_where_the_short_context_can_be_used_and_what_it_gains(table: ParityTable) -> None:
    text = parity_markdown(table)
    assert "* model float32, whisper-peft: always hears 30 s" in text
    assert "* ggml f16, whisper.cpp: 4.0 times as fast, WER 10.00 % for 10.00 %" in text
    alone = replace(table, rows=table.rows[:2])
    assert "Short context" not in parity_markdown(alone)


def test_the_page_marks_the_words_that_differ_and_escapes_them(table: ParityTable) -> None:
    page = render_parity(table)
    assert "clip&lt;1&gt;" in page
    assert "<del>kid&#39;s</del>" in page
    assert "<ins>kids</ins>" in page
    assert '<ins class="inserted">&amp;</ins>' in page


def test_the_page_needs_nothing_beside_it(table: ParityTable) -> None:
    page = render_parity(table)
    assert "<script" not in page
    assert "http" not in page
    assert "prefers-color-scheme: dark" in page


def test_a_refused_export_is_said_with_its_reason(table: ParityTable) -> None:
    refused = replace(table, rows=(MODEL, replace(GGML, refused="93 % equal, and 95 % should")))
    assert "**ggml f16 was refused**: 93 % equal, and 95 % should" in parity_markdown(refused)
    assert "ggml f16 was refused: 93 % equal, and 95 % should" in render_parity(refused)


def test_the_change_of_the_rate_stands_with_its_interval_unless_every_transcript_is_equal(
    table: ParityTable,
) -> None:
    changed = replace(GGML, wer_change=0.0057, wer_change_interval=(-0.0031, 0.0145))
    headings, rows = parity_cells(replace(table, rows=(MODEL, changed)))
    place = headings.index("Change, points (95 %)")
    assert [row[place] for row in rows] == ["", "+0.57 (-0.31 to +1.45)"]


def test_columns_without_content_are_left_out(table: ParityTable) -> None:
    headings, rows = parity_cells(replace(table, rows=(MODEL, replace(GGML, equal=1.0))))
    assert "" not in headings
    assert "Change, points (95 %)" not in headings
    assert {len(row) for row in rows} == {len(headings)}


def test_the_gain_of_the_short_context_is_told_where_it_can_be_used(table: ParityTable) -> None:
    model, ggml = short_contexts(table)
    assert (model.gain, ggml.gain) == (None, 4.0)
    page = render_parity(table)
    assert "4.0x" in page
    assert "not possible" in page


def test_without_a_measurement_nothing_is_said_of_short_contexts(table: ParityTable) -> None:
    assert short_contexts(replace(table, rows=(MODEL, GGML))) == []
    assert "Short context" not in render_parity(replace(table, rows=(MODEL, GGML)))
