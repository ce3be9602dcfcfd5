"""What every test may use: real speech, real weights, no network."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if "PYTEST_XDIST_WORKER" in os.environ:  # the suite runs in as many processes as there are cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

if TYPE_CHECKING:
    from whisper_peft.model.loading import Whisper

ROOT = Path(__file__).resolve().parent.parent
PROMPTS = ROOT / "tests" / "data" / "prompts"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="CUDA is not available on this machine"))


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the checkout's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def prompts_en() -> list[dict[str, Any]]:
    """Return the rows of the English prompts, `file_name` being an absolute path."""
    return _metadata_rows(PROMPTS / "en")


@pytest.fixture(scope="session")
def prompts_fr() -> list[dict[str, Any]]:
    """Return the rows of the French prompts, `file_name` being an absolute path."""
    return _metadata_rows(PROMPTS / "fr")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of development speech beside the checkout, or skip the test."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the development speech (../shared/data) is not on this machine")
    return folder


@pytest.fixture(scope="session")
def tiny_en() -> Whisper:
    """Return whisper-tiny.en in fp32 on the CPU, shared by the whole session: never change it."""
    return _load("openai/whisper-tiny.en")


@pytest.fixture(scope="session")
def base() -> Whisper:
    """Return multilingual whisper-base in fp32 on the CPU, shared by the whole session: never change it."""
    return _load("openai/whisper-base")


def _load(name: str) -> Whisper:
    from whisper_peft.model.loading import load_whisper
    from whisper_peft.recipe.sections import ModelSection

    return load_whisper(ModelSection(name=name, precision="fp32", device="cpu"))


def _metadata_rows(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [{**row, "file_name": str(folder / row["file_name"])} for row in rows]
