"""A recipe means the same in another folder."""

from pathlib import Path

import pytest

from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.paths import with_absolute_paths
from whisper_peft.recipe.sections import Recipe


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name in ("speech", "noise", "rooms", "model", "adapter"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_path_that_exists_becomes_absolute(here):
    recipe = apply_overrides(
        Recipe(),
        {
            "model": {"name": "model"},
            "data": {"source": "./speech"},
            "adapter": {"init": Path("adapter")},
            "augment": {"noise": {"source": Path("noise")}, "reverb": {"source": Path("rooms")}},
        },
    )
    made = with_absolute_paths(recipe)
    assert made.model.name == str(here / "model")
    assert made.data.source == str(here / "speech")
    assert made.adapter.init == here / "adapter"
    assert (made.augment.noise.source, made.augment.reverb.source) == (here / "noise", here / "rooms")


def test_paths_of_mixed_sources_become_absolute_and_other_names_stay(here):
    recipe = apply_overrides(Recipe(), {"data.mix": ["speech=1", "owner/name=1", "elsewhere.jsonl=1"]})
    made = with_absolute_paths(recipe).data.mix
    assert [mixed.source for mixed in made] == [str(here / "speech"), "owner/name", "elsewhere.jsonl"]
    assert [mixed.weight for mixed in made] == [1, 1, 1]


def test_names_of_the_hub_and_rows_in_memory_stay(here):
    rows = {"train": [], "test": []}
    recipe = apply_overrides(Recipe(), {"data": {"source": rows}})
    made = with_absolute_paths(recipe)
    assert made.model.name == recipe.model.name
    assert made.data.source == rows
    assert with_absolute_paths(Recipe()) == Recipe()
