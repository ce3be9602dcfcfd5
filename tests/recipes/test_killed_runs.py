"""Runs that are killed at each kind of moment end, once resumed, at the bits of one that never was."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "moment", ["a step", "an evaluation", "writing a checkpoint", "the start", "a data worker", "one of two"]
)
def test_a_run_killed_at_a_moment_resumes_to_the_same_bits(moment, root, tmp_path):
    script, speech = ROOT / "tests/benchmarks/killed_runs.py", root / "tests/data/prompts/en"
    words = ["--kills", "2", "--seed", "1", "--moments", moment, "--folder", tmp_path]
    done = subprocess.run(
        [sys.executable, script, speech, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if f"| {moment} |" in line]
    assert len(rows) == 2
    assert all(row.endswith("| yes |") for row in rows)
