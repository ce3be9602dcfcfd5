"""From counted work and held bytes to seconds and peak memory: constants that were fitted to measured runs.

The constants lie in `measured_costs.json`, with the runs that they were fitted to and the machine;
`tests/benchmarks/calibrate_planner.py` measures and fits. Each is a factor of one term below. Terms of time
are scaled by what a probe finds on the machine at hand (`machine_speed.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, TypeAlias

from whisper_peft.model.blueprint import Blueprint
from whisper_peft.training.planning.machine_speed import MachineSpeed
from whisper_peft.training.planning.memory_model import encoding, gradients, kept_for_backward, projection
from whisper_peft.training.planning.time_model import Work
from whisper_peft.training.planning.workload import Arithmetic, Load

Terms: TypeAlias = Mapping[str, float]
"""Amounts by the name of the constant that each is multiplied by."""

COSTS_FILE = "measured_costs.json"

KERNEL_CACHE = 1024
"""Kernels that oneDNN keeps, one for each shape it met (ONEDNN_PRIMITIVE_CACHE_CAPACITY). In bf16 on a CPU
every product is one of them."""

KERNELS_PER_CLIP, KERNELS_PER_STEP = 12, 40
"""Shapes that are new with a clip (two attentions, forward and backward) and with a step's sum of rows."""

ADAM_BYTES = {"adamw": 12, "adamw-8bit": 6}
"""Gradient and two moments of each weight that learns."""


@dataclass(frozen=True)
class MeasuredCosts:
    """The fitted constants, and the probe's speeds on the machine that they were fitted on."""

    seconds: Terms
    bytes: Terms
    products_per_second: Mapping[str, float]
    fresh_bytes_per_second: float


@lru_cache(maxsize=1)
def measured_costs() -> MeasuredCosts:
    """Return the constants that come with the package.

    Example:
        >>> sorted(measured_costs().products_per_second)
        ['bf16', 'fp32']
    """
    plain: dict[str, Any] = json.loads(
        (files("whisper_peft.training.planning") / COSTS_FILE).read_text("utf-8")
    )
    probe = plain["probe"]
    return MeasuredCosts(
        plain["seconds"], plain["bytes"], probe["products_per_second"], probe["fresh_bytes_per_second"]
    )


def time_terms(work: Work, arithmetic: Arithmetic) -> dict[str, float]:
    """Return work by the constants that turn it into seconds."""
    precision = arithmetic.precision
    return {
        f"products {precision} {arithmetic.quantize}": work.products,
        f"narrow {precision}": work.narrow,
        f"attention {precision}": work.attention,
        f"attention {precision} plain": work.plain_attention,
        f"rounded {arithmetic.quantize}": work.rounded,
        "frames": work.frames,
        f"layers {precision}": work.layers,
        "clips": work.clips,
        "updated": work.updated,
        "read": work.read,
        "mapped": work.mapped,
    }


def seconds_of(terms: Terms, arithmetic: Arithmetic, speed: MachineSpeed, costs: MeasuredCosts) -> float:
    """Return the seconds that terms take on a machine of a speed."""
    known = costs.products_per_second.get(arithmetic.precision, costs.products_per_second["bf16"])
    products = known / speed.products_per_second
    memory = costs.fresh_bytes_per_second / speed.fresh_bytes_per_second
    computed = ("products", "narrow", "attention", "rounded")
    seconds = 0.0
    for name, amount in terms.items():
        kind = name.partition(" ")[0]
        scale = products if kind in computed else memory if kind in ("mapped", "read") else 1.0
        seconds += _constant(costs.seconds, name) * amount * scale
    return seconds


def _constant(constants: Terms, name: str) -> float:
    """Return a constant; half precisions share theirs, as what was not measured on CPUs."""
    return constants.get(name, constants.get(name.replace("fp16", "bf16"), 0.0))


def weights_held(blueprint: Blueprint, arithmetic: Arithmetic) -> int:
    """Return the bytes of base and adapter in memory."""
    base = blueprint.weight_bytes(quantize=arithmetic.quantize, float_bytes=arithmetic.weight_bytes)
    return base + 4 * blueprint.adapter_weights


def learning_held(blueprint: Blueprint, optimizer: str) -> int:
    """Return the bytes of gradients and of the optimiser's moments."""
    return ADAM_BYTES[optimizer] * blueprint.trainable_weights


def step_terms(
    blueprint: Blueprint, loads: Sequence[Sequence[Load]], arithmetic: Arithmetic, *, steps: int
) -> dict[str, float]:
    """Return what training holds beside weights and optimiser, at the heaviest part of a step.

    Args:
        blueprint: Model and adapter.
        loads: What is computed at once, one after the other, in each step that was looked at. The other
            parts of a step leave gaps in the heap into which the heaviest does not fit.
        arithmetic: How it computes.
        steps: Optimiser steps of the whole run.
    """
    parts = [load for step in loads for load in step]
    heaviest = max(parts, key=lambda load: (load.positions, load.tokens))
    kind = "checkpointed" if arithmetic.checkpointing else _kind(arithmetic)
    terms = {
        "started": 1.0,
        "logits": projection(blueprint, heaviest, arithmetic).total,
        f"live {kind}": _live(blueprint, heaviest, arithmetic),
    }
    beside = 1 - heaviest.positions * len(loads) / sum(load.positions for load in parts)
    if beside > 0:
        terms[f"live again {kind}"] = terms[f"live {kind}"] * beside
    if arithmetic.attends_plainly:
        clips = sum(len(load.windows) for load in parts) / len(loads)
        met = steps * (KERNELS_PER_CLIP * clips + KERNELS_PER_STEP)
        terms["kernels"] = min(KERNEL_CACHE, met)
    return terms


def _kind(arithmetic: Arithmetic) -> str:
    """Return what a step's constants are told apart by: rounded weights are unrolled beside them."""
    rounded = arithmetic.quantize != "none"
    return f"{arithmetic.quantize} {arithmetic.precision}" if rounded else arithmetic.precision


def _live(blueprint: Blueprint, load: Load, arithmetic: Arithmetic) -> float:
    kept = kept_for_backward(blueprint, load, arithmetic)
    if arithmetic.checkpointing:
        kept += gradients(blueprint, load, arithmetic)
    return max(kept.total, encoding(blueprint, load.windows, arithmetic).total)


def scoring_terms(
    blueprint: Blueprint, batches: Sequence[Load], arithmetic: Arithmetic, *, kernels: float = 0.0
) -> dict[str, float]:
    """Return what an evaluation holds beside the weights: an encoder layer, or all rows' keys and values.

    Args:
        blueprint: Model and adapter.
        batches: What is transcribed together.
        arithmetic: How it computes.
        kernels: Those that oneDNN keeps from a stage before.
    """
    config, size = blueprint.config, arithmetic.float_bytes
    rows = max(max(load.windows) * len(load.windows) for load in batches)
    row = rows * config.d_model * size
    wide = rows * config.encoder_ffn_dim * size
    heard, written = 2 * row + 2 * wide, (2 * config.decoder_layers + 3) * row
    terms = {
        "started": 1.0,
        f"heard {arithmetic.precision} {_copies(arithmetic)}": float(max(heard, written)),
    }
    if arithmetic.attends_plainly:
        kernels = max(kernels, KERNEL_CACHE / 4)
    return {**terms, "kernels": kernels} if kernels else terms


def _copies(arithmetic: Arithmetic) -> str:
    """Return what holds more than its floats while no gradient is wanted: int8, copies of its inputs."""
    return "int8" if arithmetic.quantize == "int8" else "float"


def bytes_of(terms: Terms, costs: MeasuredCosts) -> float:
    """Return the bytes that terms stand for."""
    return sum(costs.bytes.get(name, 1.0) * amount for name, amount in terms.items())
