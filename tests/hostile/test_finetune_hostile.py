"""One run over a folder of every hostile recording and row ends, and counts each under its reason."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence

import pytest

from tests.hostile.inputs import write_folder
from tests.hostile.recordings import FINE, Recording, recordings
from tests.hostile.speech import prompts
from tests.hostile.written_rows import Row, rows
from whisper_peft import finetune
from whisper_peft.pipeline.runs.run import Run

HOSTILE: tuple[Recording | Row, ...] = (*recordings(), *rows())
BEFORE_DECODING = {
    "missing", "empty", "empty-text", "too-short", "too-long", "label-too-long", "malformed-row",
    "not-utf8", "path-outside", "bad-times", "sampling-rate", "no-decoder", "special-token",
}  # fmt: skip
"""Reasons that a header tells, or the row itself."""


def expected(hostile: Sequence[Recording | Row]) -> Counter[str]:
    """Return the reasons of hostile inputs on this machine."""
    has_ffmpeg = shutil.which("ffmpeg") is not None
    outcomes = (one.outcome.split(" or ") for one in hostile)
    chosen = ("no-decoder" if "no-decoder" in either and not has_ffmpeg else either[0] for either in outcomes)
    return Counter(reason for reason in chosen if reason != FINE)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("hostile")
    for split in ("train", "test"):
        (folder / split).mkdir()
        write_folder(folder / split, HOSTILE)
    return finetune(
        "lora-librispeech",
        model={"name": "openai/whisper-tiny.en", "device": "cpu"},
        data={"source": str(folder), "train": "train", "eval": "test", "max_skipped_share": 1},
        adapter={"r": 4, "targets": "attention"},
        train={"max_steps": 1, "batch_size": 1_000, "workers": 0},
        eval={"before": False, "short_context": False, "batch_size": 8, "health": "off"},
        merge={"enabled": False},
        output_dir=folder / "run",
    )


@pytest.mark.slow
def test_every_hostile_row_is_counted_under_its_reason(run: Run) -> None:
    report = json.loads((run.folder / "report.json").read_text(encoding="utf-8"))
    before, met = Counter(report["data"]["skipped"]), Counter(report["train"]["skipped"])
    assert before + met == expected(HOSTILE)
    assert set(met).isdisjoint(BEFORE_DECODING - {"empty"})
    fine = len([one for one in HOSTILE if FINE in one.outcome.split(" or ")])
    assert report["data"]["utterances"] + before.total() == len(HOSTILE) + 2
    assert len(HOSTILE) + 2 - before.total() - met.total() >= fine
    assert f"training rows: {sum(expected(HOSTILE).values())}" in str(run.summary())


@pytest.mark.slow
def test_what_is_scored_has_the_text_that_was_written(run: Run) -> None:
    lines = (run.folder / "predictions.jsonl").read_text(encoding="utf-8").split("\n")
    references = Counter(json.loads(line)["reference"] for line in lines if line)
    written = Counter(row.text for row in HOSTILE if isinstance(row, Row) and row.outcome == FINE)
    assert not written - references
    assert not Counter(prompts()[number][0] for number in (1, 2)) - references


@pytest.mark.slow
def test_no_text_of_a_row_is_markup_in_what_is_written_about_the_run(run: Run) -> None:
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert" in page
    for hostile in ("<script>alert", "<img src=x", '<b onclick="x">', "{{ 7 * 7 }}49"):
        assert hostile not in page
    assert not re.search(r"<(script|img|iframe|b onclick)", (run.folder / "README.md").read_text("utf-8"))
