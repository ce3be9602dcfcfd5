"""AdaLoRA (Zhang et al., 2023) needs two things of a loop that PEFT's own forward pass and trainers hide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.adalora import AdaLoraConfig, AdaLoraModel
from torch import Tensor, nn

from whisper_peft.errors import RecipeError

WARM_SHARE, STEADY_SHARE = 0.1, 0.3
"""Shares of a run before the ranks begin to fall and after they have fallen, where its config names none."""


def adalora(model: nn.Module) -> AdaLoraModel | None:
    """Return the AdaLoRA adapter of a model, if it has one."""
    tuner = model.base_model if isinstance(model, PeftModel) else None
    return tuner if isinstance(tuner, AdaLoraModel) else None


def plan_ranks(tuner: AdaLoraModel, total_steps: int) -> None:
    """Let the rank budget fall over this run's own length, whatever `total_step` was guessed.

    Without `tinit` and `tfinal` it falls after the first tenth and before the last three.

    Raises:
        RecipeError: If the run is too short for the budget to fall.
    """
    config = _config(tuner)
    if not config.tinit and not config.tfinal:  # PEFT's defaults: nobody has said when
        config.tinit, config.tfinal = int(WARM_SHARE * total_steps), int(STEADY_SHARE * total_steps)
    if config.tinit >= total_steps - config.tfinal:
        raise RecipeError(
            f"adapter.config has tinit {config.tinit} and tfinal {config.tfinal}",
            f"they leave no step for the ranks to fall in a run of {total_steps}",
            "lower both, or train longer",
        )
    tuner.rankallocator.set_total_step(total_steps)


def reallocate_ranks(tuner: AdaLoraModel, step: int) -> None:
    """Move the rank budget to where it matters; call it while the step's gradients are still there."""
    tuner.update_and_allocate(step)


def orthogonality(tuner: AdaLoraModel) -> Tensor:
    """Return the weighted regulariser that keeps the update's two bases orthogonal (equation 4)."""
    distances = [
        torch.linalg.matrix_norm(_gram(name, weight) - torch.eye(min(weight.shape), device=weight.device))
        for name, weight in tuner.named_parameters()
        if weight.requires_grad and ("lora_A" in name or "lora_B" in name)
    ]
    return torch.stack(distances).mean() * float(_config(tuner).orth_reg_weight)


def rank_state(tuner: AdaLoraModel) -> dict[str, Any]:
    """Return what the next reallocation depends on beside the weights."""
    allocator = tuner.rankallocator
    return {
        "importance": dict(allocator.exp_avg_ipt),
        "uncertainty": dict(allocator.exp_avg_unc),
        "pattern": _config(tuner).rank_pattern,
    }


def restore_ranks(tuner: AdaLoraModel, state: Mapping[str, Any]) -> None:
    """Go on from a saved `rank_state`."""
    devices = {name: weight.device for name, weight in tuner.model.named_parameters()}
    allocator = tuner.rankallocator
    allocator.exp_avg_ipt = {name: part.to(devices[name]) for name, part in state["importance"].items()}
    allocator.exp_avg_unc = {name: part.to(devices[name]) for name, part in state["uncertainty"].items()}
    # of this one only the keys are read: its values are those of the last step alone
    allocator.ipt = dict(allocator.exp_avg_ipt)
    _config(tuner).rank_pattern = state["pattern"]


def record_ranks(tuner: AdaLoraModel) -> None:
    """Make the rank pattern that of the weights as they are, so that saving drops only what is zero.

    The last reallocation's pattern may be of other weights: of a later step than the best, or from before a
    masked direction came back.
    """
    if _config(tuner).rank_pattern is not None:
        values = [(name, weight) for name, weight in tuner.model.named_parameters() if "lora_E" in name]
        _config(tuner).rank_pattern = {name: _directions(weight) for name, weight in values}


def _directions(values: Tensor) -> list[bool]:
    """Tell which singular values are there. A layer without any keeps its first: PEFT saves no empty one."""
    there: list[bool] = (values != 0).view(-1).tolist()
    return there if any(there) else [True, *there[1:]]


def _config(tuner: AdaLoraModel) -> AdaLoraConfig:
    return cast(AdaLoraConfig, tuner.peft_config[tuner.trainable_adapter_name])


def _gram(name: str, weight: Tensor) -> Tensor:
    return weight @ weight.T if "lora_A" in name else weight.T @ weight
