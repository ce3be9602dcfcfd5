"""AdaLoRA (Zhang et al., 2023) needs two things of a loop that PEFT's own forward pass and trainers hide."""

from __future__ import annotations

from typing import cast

import torch
from peft import PeftModel
from peft.tuners.adalora import AdaLoraConfig, AdaLoraModel
from torch import Tensor, nn


def adalora(model: nn.Module) -> AdaLoraModel | None:
    """Return the AdaLoRA adapter of a model, if it has one."""
    tuner = model.base_model if isinstance(model, PeftModel) else None
    return tuner if isinstance(tuner, AdaLoraModel) else None


def plan_ranks(tuner: AdaLoraModel, total_steps: int) -> None:
    """Let the rank budget fall over this run's own length, whatever `total_step` was guessed."""
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
    config = cast(AdaLoraConfig, tuner.peft_config[tuner.trainable_adapter_name])
    return torch.stack(distances).mean() * float(config.orth_reg_weight)


def _gram(name: str, weight: Tensor) -> Tensor:
    return weight @ weight.T if "lora_A" in name else weight.T @ weight
