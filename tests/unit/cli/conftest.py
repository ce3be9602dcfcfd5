"""What stands in for the public functions."""

from pathlib import Path
from types import SimpleNamespace

import pytest

import whisper_peft
from tests.unit.cli.command_lines import SCORES
from whisper_peft.types import MergeResult, Transcript


@pytest.fixture
def called(monkeypatch):
    """Replace the public functions; return what the last of them was called with."""
    seen = SimpleNamespace(interrupted=False, args=(), kwargs={}, fail=None)

    def stand_in(result):
        def function(*args, **kwargs):
            seen.args, seen.kwargs = args, kwargs
            if seen.fail is not None:
                raise seen.fail
            return result

        return function

    run = SimpleNamespace(interrupted=False, summary=lambda: "the summary")
    merged = MergeResult("merged", 0.001, True, 8, (), 0.05)
    heard = [Transcript("a.wav", "Hello.", "en", 1.0)]
    results = {
        "finetune": run,
        "evaluate": SCORES,
        "merge": merged,
        "transcribe": heard,
        "report": Path("RUN/report.html"),
    }
    for name, result in results.items():
        monkeypatch.setitem(vars(whisper_peft), name, stand_in(result))
    return seen
