"""What this package offers keeps what whisper_peft promises of it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from parliament.archive import write_archive
from parliament.chamber import in_chamber
from parliament.recipe import RECIPE
from parliament.sittings import open_sittings
from parliament.table import Table

from whisper_peft.data.sources.opening import open_source
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.testing import (
    check_augmentation,
    check_exporter,
    check_recipe,
    check_source,
    check_tracker,
    small_whisper,
)


@pytest.fixture
def sittings(tmp_path: Path) -> Path:
    """Return a folder with one sitting of two speeches."""
    (tmp_path / "train").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * 16_000)
    soundfile.write(tmp_path / "train" / "monday.flac", noise, 16_000)
    speeches = '<speech from="0" to="1.5">Order.</speech><speech from="1.5" to="3">Order!</speech>'
    (tmp_path / "train" / "monday.xml").write_text(f"<sitting>{speeches}</sitting>")
    return tmp_path


def test_the_source_keeps_its_contract(sittings: Path) -> None:
    check_source(open_source(DataSection(source=f"parliament:{sittings}"), "all"))


def test_a_folder_without_sittings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no sittings"):
        open_sittings(DataSection(source=f"parliament:{tmp_path}"))


def test_the_augmentation_keeps_its_contract() -> None:
    check_augmentation(in_chamber)


def test_the_tracker_keeps_its_contract(tmp_path: Path) -> None:
    check_tracker(Table, small_whisper(tmp_path / "whisper"))


@pytest.mark.parametrize("quantization", ["float32", "float16"])
def test_the_exporter_keeps_its_contract(tmp_path: Path, quantization: str) -> None:
    check_exporter(write_archive, small_whisper(tmp_path / "whisper"), quantization=quantization)


def test_the_recipe_keeps_its_contract() -> None:
    check_recipe(RECIPE)
