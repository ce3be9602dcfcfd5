"""What the tests of training share."""

from pathlib import Path

import pytest

from tests.unit.training.runs import make_recipe, make_training
from whisper_peft.types import Utterance


def utterances(prompts):
    """Return rows of a metadata file as undecoded utterances."""
    return tuple(
        Utterance(row["file_name"], Path(row["file_name"]), row["text"], duration_s=row["duration_s"])
        for row in prompts
    )


@pytest.fixture(scope="session")
def rows(prompts_en):
    return utterances(sorted(prompts_en, key=lambda row: row["duration_s"])[:9])


@pytest.fixture(scope="session")
def long_rows(prompts_en):
    return utterances(sorted(prompts_en, key=lambda row: row["duration_s"])[-9:])


@pytest.fixture(scope="session")
def recipe():
    """Return what makes a recipe of a few steps, given fields of its train section."""
    return make_recipe


@pytest.fixture(scope="session")
def training():
    """Return what makes a run of the loop on rows, in a folder."""
    return make_training
