"""The picture of where the model changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from whisper_peft.reporting.plots.heat_maps import LABELS, PALEST, heat_maps
from whisper_peft.reporting.plots.line_plots import WIDTH
from whisper_peft.update_types import LayerUpdate, Measure, WeightUpdates

MODULES = [f"{kind}_attn.{name}_proj" for kind in ("self", "encoder") for name in "qkv"] + ["fc1", "fc2"]


def updates(layers: int) -> WeightUpdates:
    names = [f"decoder.layers.{number}.{module}" for number in range(layers) for module in MODULES]
    changed = [LayerUpdate(name, place + 1.0, None, 1.0 + place % 5, 8) for place, name in enumerate(names)]
    return WeightUpdates("update", tuple(changed))


@pytest.mark.parametrize("layers", [1, 4, 32])
def test_every_layer_has_a_cell_of_its_own_within_the_frame(layers: int) -> None:
    for drawn in heat_maps(updates(layers)):
        assert len({(cell.x, cell.y) for cell in drawn.cells}) == len(drawn.cells) == layers * len(MODULES)
        assert all(cell.x >= LABELS and cell.x + drawn.cell_width <= WIDTH for cell in drawn.cells)
        assert all(cell.y + drawn.cell_height < drawn.height - 30 for cell in drawn.cells)
        assert len(drawn.columns) <= 12


def test_the_darkest_cell_is_the_layer_that_changed_most() -> None:
    size, rank = heat_maps(updates(2))
    darkest = max(size.cells, key=lambda cell: cell.shade)
    assert (darkest.label, darkest.shade) == ("decoder.layers.1.fc2: 16", 1.0)
    assert "Most in decoder layer 1 fc2: 16; least in decoder layer 0 self q: 1." in size.description
    assert rank.highest == "5"
    assert rank.caption == "directions in which it changed, of 8 that it was given"


@pytest.mark.parametrize(
    ("measure", "title", "told"),
    [
        ("learned", "Size of what was learned", "of 8 that it and its start span"),
        ("whole", "Size of the update including its start", "that it has with its start"),
    ],
)
def test_a_start_that_was_not_zero_is_named(measure: Measure, title: str, told: str) -> None:
    size, rank = heat_maps(replace(updates(1), measure=measure))
    assert (size.title, size.highest) == (title, "8")
    assert told in rank.caption


def test_layers_without_any_change_are_all_palest() -> None:
    nothing = WeightUpdates("weights", (LayerUpdate("encoder.layers.0.fc1", 0.0, 0.0),))
    (only,) = heat_maps(nothing)
    assert [cell.shade for cell in only.cells] == [PALEST]
    assert only.highest == "0 %"


def test_layers_outside_of_blocks_have_rows_of_their_own() -> None:
    changed = [
        LayerUpdate("encoder.layers.0.fc1", 1.0),
        LayerUpdate("encoder.conv1", 2.0),
        LayerUpdate("proj_out", 3.0),
    ]
    (only,) = heat_maps(WeightUpdates("update", tuple(changed)))
    assert [name for _, name in only.rows] == ["encoder fc1", "encoder.conv1", "proj_out"]
