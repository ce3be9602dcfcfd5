"""The table of `tests/benchmarks/methods.py`: failed seeds stay in it, and its intervals hold the seeds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import methods
from tests.benchmarks.methods import Cell
from whisper_peft.evaluation.resampling import resampled_rates

UTTERANCES, WORDS = 40, 10


def write(folder: Path, name: str, seed: int, errors: list[int]) -> None:
    """Write the figures of a cell of the accented corpus."""
    counts = {"errors": errors, "words": [WORDS] * UTTERANCES}
    content = {"evaluation": {"counts": {"accented": counts, "librispeech": counts}}}
    path = folder / f"{Cell('accented', name, seed).key}.json"
    path.write_text(json.dumps(content), encoding="utf-8")


def fail(folder: Path, name: str, seed: int, error: str) -> None:
    path = folder / f"{Cell('accented', name, seed).key}.json"
    path.write_text(json.dumps({"error": error}), encoding="utf-8")


def row(folder: Path, name: str) -> list[str]:
    """Return the cells of a row of the table."""
    (line,) = (line for line in methods.table(folder).splitlines() if line.startswith(f"| {name} |"))
    return [text.strip() for text in re.split(r"(?<!\\)\|", line.strip("|"))]


def interval(text: str) -> tuple[float, float]:
    """Return both ends of what stands in parentheses."""
    low, high = re.findall(r"[-+]?\d+\.\d+", text.partition("(")[2])
    return float(low), float(high)


def test_a_seed_that_failed_stays_in_the_row_of_those_that_did_not(tmp_path):
    write(tmp_path, "LoRA", 42, [2] * UTTERANCES)
    fail(tmp_path, "LoRA", 43, "MemoryError: no room")
    fail(tmp_path, "LoRA", 44, "MemoryError: no room")
    _, seeds, rate, *_ = row(tmp_path, "LoRA")
    assert seeds == "1, 2 failed: MemoryError: no room"
    assert rate.startswith("20.00 %")
    assert "LoRA (" not in methods.table(tmp_path).split("Not run on accented")[1].split(";")[0]


def test_a_row_of_failed_seeds_alone_says_why(tmp_path):
    write(tmp_path, "LoRA", 42, [2] * UTTERANCES)
    fail(tmp_path, "DoRA", 42, "MemoryError")
    assert row(tmp_path, "DoRA")[1:3] == ["1", "failed: MemoryError"]


def test_intervals_of_several_seeds_hold_their_spread(tmp_path):
    for seed, errors in zip(methods.SEEDS, (1, 2, 3), strict=True):
        write(tmp_path, "LoRA", seed, [errors] * UTTERANCES)
    _, seeds, rate, *_ = row(tmp_path, "LoRA")
    assert (seeds, rate.partition(" (")[0]) == ("3", "20.00 %")
    low, high = interval(rate)
    assert (low, high) == (10.0, 30.0)  # three equal draws of three come once in 27 times


def test_a_difference_is_paired_by_seed(tmp_path):
    for seed, errors in zip(methods.SEEDS, (1, 2, 3), strict=True):
        write(tmp_path, "LoRA", seed, [errors] * UTTERANCES)
        write(tmp_path, "DoRA", seed, [errors + 1] * UTTERANCES)
    assert interval(row(tmp_path, "DoRA")[3]) == (10.0, 10.0)


def test_a_difference_leaves_out_seeds_that_failed_on_either_side(tmp_path):
    for seed, errors in zip(methods.SEEDS, (1, 2, 3), strict=True):
        write(tmp_path, "LoRA", seed, [errors] * UTTERANCES)
    fail(tmp_path, "DoRA", 42, "torn")
    write(tmp_path, "DoRA", 43, [2] * UTTERANCES)
    write(tmp_path, "DoRA", 44, [3] * UTTERANCES)
    assert row(tmp_path, "DoRA")[3].startswith("+0.00 points")


def test_an_error_stays_in_its_cell(tmp_path):
    fail(tmp_path, "DoRA", 42, "expected int | None")
    assert row(tmp_path, "DoRA")[2] == r"failed: expected int \| None"


def test_one_seed_is_resampled_over_utterances_alone():
    errors = np.random.default_rng(0).integers(5, size=(1, UTTERANCES))
    words = np.full((1, UTTERANCES), WORDS)
    counts = {"errors": errors[0].tolist(), "words": words[0].tolist()}
    _, found = methods._rates([{"evaluation": {"counts": {"accented": counts}}}], "accented")
    expected = resampled_rates(errors, words, samples=methods.RESAMPLES, seed=0)[:, 0]
    assert found.tolist() == pytest.approx(expected.tolist(), abs=0)
