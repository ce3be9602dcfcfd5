"""Rows that cannot be used are counted by reason before the expensive part begins."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.checking import check_row, check_rows
from whisper_peft.data.sources.opening import open_source
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance


def label_length(utterance: Utterance) -> int:
    return 4 + len(utterance.text.split())


def write(folder: Path, name: str, seconds: float, rate: int = 16_000, channels: int = 1) -> Path:
    samples = 0.1 * np.random.default_rng(0).standard_normal((int(seconds * rate), channels))
    soundfile.write(folder / name, samples, rate)
    return folder / name


@pytest.fixture
def hostile(tmp_path: Path) -> list[dict[str, Any]]:
    good = write(tmp_path, "good.wav", 1)
    (tmp_path / "nothing.flac").touch()
    (tmp_path / "noise.flac").write_bytes(b"this is no audio")
    return [
        {"id": "good", "audio": good, "text": "Good."},
        {"id": "telephone", "audio": write(tmp_path, "telephone.wav", 1, 8_000, 2), "text": "Good."},
        {"id": "missing", "audio": tmp_path / "missing.wav", "text": "Words."},
        {"id": "empty", "audio": tmp_path / "nothing.flac", "text": "Words."},
        {"id": "no-samples", "audio": write(tmp_path, "zero.wav", 0), "text": "Words."},
        {"id": "noise", "audio": tmp_path / "noise.flac", "text": "Words."},
        {"id": "none", "audio": None, "text": "Words."},
        {"id": "long", "audio": write(tmp_path, "long.wav", 30.5), "text": "Words."},
        {"id": "short", "audio": write(tmp_path, "short.wav", 0.05), "text": "Words."},
        {"id": "blank", "audio": good, "text": "  \t"},
        {"id": "null", "audio": good, "text": None},
        {"id": "nan", "audio": good, "text": float("nan")},
        {"id": "wordy", "audio": good, "text": "word " * 445},
    ]


def test_every_bad_row_is_counted_under_its_reason(hostile: list[dict[str, Any]]) -> None:
    section = DataSection(source=hostile, max_skipped_share=1)
    check = check_rows(open_source(section, "all"), section=section, label_length=label_length)
    assert [row.id for row in check.kept] == ["good", "telephone"]
    assert [row.duration_s for row in check.kept] == [1.0, 1.0]
    assert check.hours == pytest.approx(2 / 3600)
    assert check.skipped == {
        "missing": 1,
        "empty": 3,
        "unreadable": 1,
        "too-long": 1,
        "too-short": 1,
        "empty-text": 3,
        "label-too-long": 1,
    }
    assert check.examples["empty"] == ("empty", "no-samples", "none")
    assert check.sentence().startswith("2 of 13 rows kept")
    assert "empty-text: 3 (blank, null, nan)" in check.sentence()


def test_what_is_kept_decodes(hostile: list[dict[str, Any]]) -> None:
    section = DataSection(source=hostile, max_skipped_share=1)
    check = check_rows(open_source(section, "all"), section=section, label_length=label_length)
    assert [len(decode(row).waveform) for row in check.kept] == [16_000, 16_000]


def test_the_same_rule_serves_a_stream(hostile: list[dict[str, Any]]) -> None:
    section = DataSection(source=hostile, max_skipped_share=1)
    local = check_rows(open_source(section, "all"), section=section, label_length=label_length)
    rows = open_source(section, "all")
    reasons = [check_row(row, section=section, label_length=label_length)[1] for row in rows]
    assert reasons.count(None) == len(local.kept)
    assert {reason: reasons.count(reason) for reason in reasons if reason} == local.skipped


def test_text_of_nothing_but_blanks_is_empty() -> None:
    row = Utterance("a", np.ones(16_000), " \n", sampling_rate=16_000)
    assert check_row(row, section=DataSection(), label_length=label_length)[1] == "empty-text"


def test_the_limit_of_the_label_is_inclusive() -> None:
    row = Utterance("a", np.ones(16_000), "word " * 444, sampling_rate=16_000)
    section = DataSection()
    assert check_row(row, section=section, label_length=label_length, max_label_tokens=448)[1] is None
    assert (
        check_row(row, section=section, label_length=label_length, max_label_tokens=447)[1]
        == "label-too-long"
    )


def test_thirty_seconds_are_not_too_long() -> None:
    row = Utterance("a", np.ones(480_000), "words", sampling_rate=16_000)
    assert check_row(row, section=DataSection(), label_length=label_length)[1] is None


def test_more_bad_rows_than_the_limit_stop_the_run_with_counts_and_examples(
    hostile: list[dict[str, Any]],
) -> None:
    source = open_source(DataSection(source=hostile), "all")
    with pytest.raises(DataError) as refused:
        check_rows(source, section=DataSection(), label_length=label_length)
    for part in ("84.6 % of the rows", "missing: 1 (missing)", "empty: 3 (empty,", "data.max_skipped_share"):
        assert part in str(refused.value)


@pytest.mark.parametrize(("bad", "is_refused"), [(1, False), (2, False), (3, True)])
def test_the_limit_of_bad_rows_is_inclusive(tmp_path: Path, bad: int, is_refused: bool) -> None:
    good = write(tmp_path, "good.wav", 1)
    rows = [{"audio": good, "text": "Words."}] * 2 + [{"audio": good, "text": ""}] * bad
    section = DataSection(source=rows)
    if is_refused:
        with pytest.raises(DataError, match=r"60\.0 % of the rows"):
            check_rows(open_source(section, "all"), section=section, label_length=label_length)
    else:
        check = check_rows(open_source(section, "all"), section=section, label_length=label_length)
        assert check.skipped == {"empty-text": bad}


def test_a_text_of_megabytes_is_too_long_without_being_tokenised() -> None:
    row = Utterance("a", np.ones(16_000), "word " * 2_000_000, sampling_rate=16_000)

    def never(utterance: Utterance) -> int:
        raise AssertionError("it was tokenised")

    assert check_row(row, section=DataSection(), label_length=never)[1] == "label-too-long"


def test_nothing_usable_is_one_clear_error_with_the_counts(hostile: list[dict[str, Any]]) -> None:
    section = DataSection(source=hostile[2:])
    with pytest.raises(
        DataError, match=r"no row of .* can be used - empty: 3 \(empty, no-samples, none\); empty-text"
    ):
        check_rows(open_source(section, "all"), section=section, label_length=label_length)
