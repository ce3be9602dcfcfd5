"""Recipe scripts run as a user runs them: in processes of their own, or in this one, which saves imports."""

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "--model.precision": "fp32",
    "--adapter.r": "4",
    "--train.learning-rate": "1e-3",
    "--eval.max-utterances": "2",
    "--eval.health": "off",
    "--merge.clips": "1",
}


class Launch:
    """Starts recipe scripts on a manifest of short English prompts."""

    def __init__(self, manifest, folder):
        self.manifest, self.folder = manifest, folder

    def command(self, script, run, *words, launcher=(sys.executable,)):
        data = ["--data.source", self.manifest, "--data.train", "train", "--data.eval", "test"]
        path = script if isinstance(script, Path) else ROOT / "recipes" / f"{script}.py"
        return [
            *map(
                str,
                (*launcher, path, *data, *sum(SMALL.items(), ()), "--output-dir", self.folder / run, *words),
            )
        ]

    def environment(self):
        threads = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        return {**os.environ, **threads, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def __call__(self, script, run, *words, **launcher):
        done = subprocess.run(
            self.command(script, run, *words, **launcher),
            capture_output=True, text=True, timeout=600, env=self.environment(), cwd=self.folder, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def here(self, script, run, *words):
        """Run a script in this process; return what it prints."""
        _, path, *flags = self.command(script, run, *words)
        printed = io.StringIO()
        typed, folder = patch.object(sys, "argv", [path, *flags]), contextlib.chdir(self.folder)
        with typed, folder, contextlib.redirect_stdout(printed):
            runpy.run_path(path, run_name="__main__")
        return printed.getvalue()

    def report(self, run):
        return json.loads((self.folder / run / "report.json").read_text())

    def losses(self, run):
        lines = (self.folder / run / "log.jsonl").read_text().splitlines()
        return {row["step"]: row["loss"] for row in map(json.loads, lines)}


@pytest.fixture
def launch(prompts_en, tmp_path):
    manifest = tmp_path / "short.jsonl"
    chosen = sorted(prompts_en, key=lambda row: row["duration_s"])[:16]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    return Launch(manifest, tmp_path)
