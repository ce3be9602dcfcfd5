"""What changed in which layer as inline SVG: layers to the right, their modules downwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from whisper_peft.reporting import figures
from whisper_peft.reporting.plots.line_plots import RIGHT, WIDTH
from whisper_peft.update_types import LayerUpdate, WeightUpdates, strength

LABELS = 138
"""Units that the names of the modules take at the left."""

CELL, WIDEST_CELL, GAP = 17, 40, 1.5
"""Height of a cell, its greatest width, and the room between two."""

TOP, BELOW = 4, 40
"""Room above the cells, and below them for the numbers of the layers."""

MOST_NUMBERS = 12
"""Layers that are numbered; of more, every second or fourth is."""

PALEST = 0.07
"""Opacity of a layer that did not change."""

NORMS = {
    "update": ("Size of the update", "Frobenius norm of the scaled product of its two matrices"),
    "learned": ("Size of what was learned", "Frobenius norm of the update less the one it began with"),
    "whole": (
        "Size of the update including its start",
        "Frobenius norm of the scaled product of its two matrices",
    ),
    "factors": ("Change of the factors", "root mean square of the learned factors less 1"),
    "weights": ("Change of the weights", "norm of the difference, as a fraction of the base's"),
}
"""Title and caption by what the norms are of."""

RANKS = {
    "update": "directions in which it changed, of {} that it was given",
    "learned": "directions in which it changed, of {} that it and its start span",
    "whole": "directions that it has with its start, of {} that it was given",
}
"""Caption of the effective ranks."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A layer in SVG units; its shade is from 0 to 1."""

    x: float
    y: float
    shade: float
    label: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Everything that the template draws."""

    title: str
    caption: str
    description: str
    cells: tuple[Cell, ...]
    rows: tuple[tuple[float, str], ...]
    columns: tuple[tuple[float, str], ...]
    highest: str
    cell_width: float
    height: float
    cell_height: float = CELL - GAP
    width: int = WIDTH
    left: int = LABELS


def heat_maps(updates: WeightUpdates) -> tuple[HeatMap, ...]:
    """Return the maps of what is known: how much changed, and in how many directions.

    Example:
        >>> layers = (LayerUpdate("encoder.layers.0.fc1", 2.0), LayerUpdate("encoder.layers.1.fc1", 1.0))
        >>> (only,) = heat_maps(WeightUpdates("update", layers))
        >>> only.description.partition(". ")[2]
        'Most in encoder layer 0 fc1: 2; least in encoder layer 1 fc1: 1.'
    """
    if not updates.layers:
        return ()
    is_share = updates.measure in ("factors", "weights")
    print_norm = figures.short_percent if is_share else figures.short
    title, caption = NORMS[updates.measure]
    drawn = [_map(title, caption, {one: strength(one) for one in updates.layers}, print_norm)]
    ranks = {one: one.effective_rank for one in updates.layers if one.effective_rank is not None}
    if ranks:
        given = max((one.r or 0) for one in ranks)
        told = RANKS[updates.measure].format(given)
        drawn.append(_map("Effective rank", told, ranks, figures.short))
    return tuple(drawn)


def _map(
    title: str, caption: str, values: dict[LayerUpdate, float], print_value: Callable[[float], str]
) -> HeatMap:
    places = {one: _place(one.layer) for one in values}
    rows = list(dict.fromkeys(row for row, _ in places.values()))
    columns = max(column for _, column in places.values()) + 1
    width = round(min((WIDTH - RIGHT - LABELS) / columns, WIDEST_CELL), 2)
    highest = max(values.values())
    ordered = sorted(values, key=lambda one: -values[one])
    most, least = (
        f"{places[one][0].replace(' ', f' layer {places[one][1]} ', 1)}: {print_value(values[one])}"
        for one in (ordered[0], ordered[-1])
    )
    every = 1 if columns <= MOST_NUMBERS else 2 if columns <= 2 * MOST_NUMBERS else 4
    return HeatMap(
        title,
        caption,
        f"{title} by layer and module. Most in {most}; least in {least}.",
        tuple(
            Cell(
                round(LABELS + column * width, 2),
                TOP + rows.index(row) * CELL,
                round(PALEST + (1 - PALEST) * (values[one] / highest if highest else 0.0), 3),
                f"{one.layer}: {print_value(values[one])}",
            )
            for one, (row, column) in places.items()
        ),
        tuple((TOP + (place + 0.72) * CELL, row) for place, row in enumerate(rows)),
        tuple((round(LABELS + (one + 0.5) * width, 1), str(one)) for one in range(0, columns, every)),
        print_value(highest),
        cell_width=max(width - GAP, 1.0),
        height=TOP + len(rows) * CELL + BELOW,
    )


def _place(layer: str) -> tuple[str, int]:
    """Return the row and the column of a layer; one without a number has a row of its own.

    Example:
        >>> _place("decoder.layers.3.encoder_attn.q_proj")
        ('decoder cross q', 3)
    """
    found = re.fullmatch(r"(encoder|decoder)\.layers\.(\d+)\.(?:(self|encoder)_attn\.)?(.+)", layer)
    if found is None:
        return layer, 0
    side, number, attention, module = found.groups()
    kind = {"self": "self ", "encoder": "cross "}.get(attention, "")
    return f"{side} {kind}{module.removesuffix('_proj')}", int(number)
