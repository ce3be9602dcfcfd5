"""How far each layer was changed, and in how many directions: from an adapter's folder, or from two models.

An update `B A` is never multiplied out: with the QR decompositions of both factors its singular values are
those of a matrix of r by r. Where training began with an update `B0 A0` that is not zero, what was learned is
`B A - B0 A0`, the product of `[B, -B0]` and `[A; A0]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import AdaLoraConfig, LoraConfig, PeftConfig, PeftType
from peft.utils.other import get_pattern_key
from torch import Tensor

from whisper_peft.model.adapters.folders import read_adapter_config, read_adapter_state
from whisper_peft.model.adapters.repairs import MODEL_PREFIX
from whisper_peft.update_types import LayerUpdate, Measure, WeightUpdates, sum_up

_PART = re.compile(
    r"(?P<path>.+)\.(?P<part>lora_A|lora_B|lora_E|lora_embedding_A|lora_embedding_B|ia3_l|vera_lambda_[bd])(\.weight)?"
)

NONZERO_STARTS = {
    "pissa": "as a part of the base",
    "olora": "as a part of the base",
    "corda": "as a part of the base",
    "lora_ga": "as a step of the base's gradient",
    "loftq": "in what rounding took away",
    "random": "at random",
}
"""Ways to begin with an update that is not zero, by the beginning of their names, and where they begin.

Of EVA, MiCA and the gaussian start one factor is zero; those of the orthogonal one multiply to zero.
"""

_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
_MODULES = (*(f"{kind}_attn.{name}" for kind in ("self", "encoder") for name in _PROJECTIONS), "fc1", "fc2")
"""In the order in which a layer computes them."""

_ADALORA_EPSILON = 1e-5
"""What PEFT adds to the rank that it divides by (peft 0.21, `adalora/layer.py`)."""

Parts = dict[str, Tensor]
Factors = tuple[Tensor, Tensor]
"""The update's left factor, shape `(out, r)`, and its right one, `(r, in)`; their product is the update."""


def folder_updates(
    folder: Path, *, start: str | None = None, began: Mapping[str, Tensor] | None = None
) -> WeightUpdates:
    """Return where an adapter changes its base, from its folder alone.

    Args:
        folder: The adapter's folder.
        start: As `adapter_updates` has it.
        began: As `adapter_updates` has it.

    Raises:
        AdapterError: If the adapter is missing or damaged.
    """
    config, state = read_adapter_config(folder, tell=False), read_adapter_state(folder, tell=False)
    return adapter_updates(config, state, start=start, began=began)


def adapter_updates(
    config: PeftConfig,
    state: Mapping[str, Tensor],
    *,
    start: str | None = None,
    began: Mapping[str, Tensor] | None = None,
) -> WeightUpdates:
    """Return where an adapter changes its base.

    Args:
        config: Its configuration.
        state: Its tensors, as PEFT names them.
        start: The one of `NONZERO_STARTS` that it is known to have; else what its configuration tells.
        began: The tensors it had before training; the update that they make is taken off. Without them an
            update that did not begin at zero is measured whole.
    """
    layers, first = _layers(state), _layers(began or {})
    measured = [
        one
        for path, parts in layers.items()
        if (one := _layer_update(path, parts, config, state, first.get(path)))
    ]
    if not measured:
        kind = PeftType(config.peft_type).value
        return sum_up("update", [], (f"the update of a {kind} adapter is not told from its folder",))
    start = start or nonzero_start(config)
    measure: Measure = "whole" if start else "update"
    if any("ia3_l" in parts for parts in layers.values()):
        measure = "factors"
    elif began is not None:
        measure = "learned"
    ordered = sorted(measured, key=lambda one: _place(one.layer))
    return sum_up(measure, ordered, (*_start_notes(start, measure), *_notes(config)))


def nonzero_start(config: PeftConfig) -> str | None:
    """Return how an adapter began, where that was not with an update of zero.

    Example:
        >>> nonzero_start(LoraConfig(init_lora_weights="pissa")), nonzero_start(LoraConfig())
        ('pissa', None)
    """
    if not isinstance(config, LoraConfig) or isinstance(config, AdaLoraConfig):
        return None
    if config.loftq_config:
        return "loftq"
    start = "random" if config.init_lora_weights is False else str(config.init_lora_weights)
    return next((name for name in NONZERO_STARTS if start.startswith(name)), None)


def model_updates(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> WeightUpdates:
    """Return how far the weight matrices of a tuned model are from its base's.

    Args:
        before: Weights of the base by Hugging Face's names.
        after: Those of the tuned model. What only one of them has is left out.
    """
    layers = []
    for name, weight in before.items():
        if not name.endswith(".weight") or weight.dim() < 2 or name not in after:
            continue
        was = weight.double()
        change = float(torch.linalg.vector_norm(after[name].double() - was))
        size = float(torch.linalg.vector_norm(was))
        layers.append(LayerUpdate(_short(name.removesuffix(".weight")), change, change / size))
    note = ("biases, layer norms and effective ranks are left out",)
    return sum_up("weights", sorted(layers, key=lambda one: _place(one.layer)), note)


def singular_values(left: Tensor, right: Tensor) -> Tensor:
    """Return the singular values of `left @ right` without that product, in fp64.

    Example:
        >>> left, right = torch.eye(5)[:, :2], torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
        >>> singular_values(left, right).tolist()
        [4.0, 3.0]
    """
    (_, tall), (_, wide) = torch.linalg.qr(left.double()), torch.linalg.qr(right.double().T)
    values: Tensor = torch.linalg.svdvals(tall @ wide.T)
    return values


def effective_rank(values: Tensor) -> float:
    """Return e to the entropy of singular values (Roy and Vetterli, 2007); 0 of a matrix of zeros.

    Example:
        >>> effective_rank(torch.tensor([2.0, 2.0, 0.0])), effective_rank(torch.zeros(3))
        (2.0, 0.0)
    """
    whole = values.sum()
    if not whole:
        return 0.0
    shares = values / whole
    return float(torch.special.entr(shares).sum().exp())


def _layers(state: Mapping[str, Tensor]) -> dict[str, Parts]:
    layers: dict[str, Parts] = {}
    for name, tensor in state.items():
        found = _PART.fullmatch(name.removeprefix(MODEL_PREFIX))
        if found:
            layers.setdefault(found["path"], {})[found["part"]] = tensor
    return layers


def _layer_update(
    path: str, parts: Parts, config: PeftConfig, state: Mapping[str, Tensor], began: Parts | None
) -> LayerUpdate | None:
    if "ia3_l" in parts:
        factors = parts["ia3_l"].double().flatten()
        norm = float(torch.linalg.vector_norm(factors - 1))
        return LayerUpdate(_short(path), norm, relative=norm / len(factors) ** 0.5)
    found = _factors(path, parts, config, state)
    if found is None:
        return None
    given = _given(parts, found)
    first = _factors(path, began, config, {}) if began is not None else None
    if first is not None:
        found = torch.cat((found[0], -first[0]), dim=1), torch.cat((found[1], first[1]))
        given = min(len(found[1]), len(found[0]), found[1].shape[1])
    values = singular_values(*found)
    norm = float(torch.linalg.vector_norm(values))
    return LayerUpdate(_short(path), norm, None, effective_rank(values), given)


def _given(parts: Parts, factors: Factors) -> int:
    """Return the rank that a layer was given; AdaLoRA takes directions away by a zero in E."""
    return int(torch.count_nonzero(parts["lora_E"])) if "lora_E" in parts else len(factors[1])


def _factors(path: str, parts: Parts, config: PeftConfig, state: Mapping[str, Tensor]) -> Factors | None:
    """Return the factors of a layer's update, scaled as PEFT scales it; None where they are not there."""
    matrix = next((name for name in ("lora_", "lora_embedding_") if f"{name}A" in parts), None)
    if matrix is not None:
        down, up = parts[f"{matrix}A"], parts[f"{matrix}B"]
        # those of a convolution have axes of the kernel
        right, left = down.double().flatten(1), up.double().flatten(1)
        right = right * parts["lora_E"].double() if "lora_E" in parts else right
        return left * _scale(path, len(right), config), right
    return _vera_factors(path, parts, state) if "vera_lambda_b" in parts else None


def _vera_factors(path: str, parts: Parts, state: Mapping[str, Tensor]) -> Factors | None:
    """Return the shared random matrices, scaled row by row; None where they were not saved.

    Of layers of several shapes each takes the first columns. How many is not saved, but all of Whisper's
    layers hear its width, which is also the shortest output of any, and the second of a feed-forward all.
    """
    down, up = state.get("base_model.vera_A"), state.get("base_model.vera_B")
    if down is None or up is None:
        return None
    lengths, directions = parts["vera_lambda_b"].double(), parts["vera_lambda_d"].double()
    shortest = min(len(tensor) for name, tensor in state.items() if name.endswith("vera_lambda_b"))
    width = down.shape[1] if path.endswith("fc2") else min(down.shape[1], shortest)
    left, right = up[: len(lengths)].double(), down[:, :width].double()
    return lengths[:, None] * left, directions[:, None] * right


def _scale(path: str, r: int, config: PeftConfig) -> float:
    if isinstance(config, AdaLoraConfig):
        alpha = float(config.lora_alpha if config.lora_alpha > 0 else config.init_r)
        return alpha / (config.init_r + _ADALORA_EPSILON)
    assert isinstance(config, LoraConfig)
    alphas = config.alpha_pattern or {}
    alpha = float(alphas.get(get_pattern_key(list(alphas), path), config.lora_alpha))
    return alpha / (r**0.5 if config.use_rslora else r)


def _start_notes(start: str | None, measure: Measure) -> Iterator[str]:
    if measure == "learned":
        yield f"the update that it began with ({start}) is taken off: both together span twice the rank"
    elif measure == "whole" and start is not None:
        began = NONZERO_STARTS[start]
        yield f"with {start} the update began {began}, so the figures hold more than was learned"


def _notes(config: PeftConfig) -> Iterator[str]:
    """Yield what the norms do not tell."""
    values: dict[str, Any] = config.to_dict()
    if values.get("use_dora"):
        yield "DoRA also learns the length of each weight's rows, which the norms leave out"
    if values.get("bias", "none") != "none":
        yield "biases were learned too, which the norms leave out"
    if values.get("modules_to_save"):
        yield f"{', '.join(values['modules_to_save'])}: learned whole, and left out"


def _short(path: str) -> str:
    return path.removeprefix("model.")


def _place(layer: str) -> tuple[Any, ...]:
    """Return what sorts layers as the model has them: the encoder's before the decoder's, by number."""
    side = {"encoder": 0, "decoder": 1}.get(layer.partition(".")[0], 2)
    number = re.search(r"\.layers\.(\d+)\.", layer)
    return side, int(number[1]) if number else -1, _module_place(layer), layer


def _module_place(layer: str) -> int:
    return next((place for place, name in enumerate(_MODULES) if layer.endswith(name)), len(_MODULES))
