"""What the tests of training share."""

from pathlib import Path

import pytest

from whisper_peft.types import Utterance


@pytest.fixture(scope="session")
def rows(prompts_en):
    chosen = sorted(prompts_en, key=lambda row: row["duration_s"])[:9]
    return tuple(
        Utterance(row["file_name"], Path(row["file_name"]), row["text"], duration_s=row["duration_s"])
        for row in chosen
    )
