"""Optimiser, learning-rate schedule and scaler as one thing with one state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import get_scheduler

from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import TrainSection
from whisper_peft.training.rank_allocation import (
    adalora,
    plan_ranks,
    rank_state,
    reallocate_ranks,
    restore_ranks,
)

LONGEST_WARMUP = 500
"""Most steps of warm-up that are chosen unasked."""

ADAM_EPSILON = 1e-6
"""Whisper's own (Radford et al., 2022, table 17). With the usual 1e-8, AdamW takes whole steps along the
rounding noise of gradients that are zero in exact arithmetic: equal batches in another order drift apart."""

SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
"""Our names and those of transformers.get_scheduler."""


def warmup_steps(section: TrainSection, total_steps: int) -> int:
    """Return the steps of warm-up: those asked for, or a tenth of the run.

    Example:
        >>> warmup_steps(TrainSection(), 40)
        4
    """
    return min(total_steps // 10, LONGEST_WARMUP) if section.warmup_steps is None else section.warmup_steps


class Optimization:
    """Clip, step, schedule.

    Args:
        whisper: The model with its adapter attached.
        section: How to learn.
        total_steps: Length of the schedule.
    """

    def __init__(self, whisper: Whisper, section: TrainSection, total_steps: int) -> None:
        self.weights = [weight for weight in whisper.model.parameters() if weight.requires_grad]
        self.max_grad_norm = section.max_grad_norm
        self.optimizer = _optimizer(self.weights, section)
        self.schedule = get_scheduler(
            SCHEDULES[section.schedule], self.optimizer, warmup_steps(section, total_steps), total_steps
        )
        self.adalora = adalora(whisper.model)
        if self.adalora is not None:
            plan_ranks(self.adalora, total_steps)
        self.scaler = torch.amp.GradScaler(whisper.device.type, enabled=whisper.precision.needs_scaler)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def clip(self) -> float:
        """Bring the gathered gradient to its length, and return its norm before that."""
        self.scaler.unscale_(self.optimizer)
        return float(nn.utils.clip_grad_norm_(self.weights, self.max_grad_norm))

    def step(self, *, take: bool) -> None:
        """Apply the clipped gradient, or leave it: then nothing changes, the learning rate neither."""
        if take:
            self.scaler.step(self.optimizer)
            self.schedule.step()
            if self.adalora is not None:
                reallocate_ranks(self.adalora, self.schedule.last_epoch)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def slow_down(self, factor: float) -> None:
        """Multiply the learning rates of all steps to come."""
        self.schedule.base_lrs = [rate * factor for rate in self.schedule.base_lrs]
        for group in self.optimizer.param_groups:
            group["lr"] *= factor
        self.schedule._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all three, and of AdaLoRA's ranks where there are any."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ranks": rank_state(self.adalora) if self.adalora is not None else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        if self.adalora is not None:
            restore_ranks(self.adalora, state["ranks"])


def _optimizer(weights: list[nn.Parameter], section: TrainSection) -> torch.optim.Optimizer:
    adamw: Any = torch.optim.AdamW
    if section.optimizer == "adamw-8bit":
        from bitsandbytes.optim.adamw import AdamW8bit as adamw  # noqa: N813 - a class is what is chosen
    optimizer: torch.optim.Optimizer = adamw(
        weights, lr=section.learning_rate, eps=ADAM_EPSILON, weight_decay=section.weight_decay
    )
    return optimizer
