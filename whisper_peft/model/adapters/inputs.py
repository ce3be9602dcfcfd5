"""EVA's start (Paischer et al., 2024): LoRA looks first where its own speech varies most.

The rows of A become the leading singular vectors of what flows into each layer, and B stays zero, so that the
first step still says what the base says. They are found from second moments, which take the square of a
layer's width in memory and do not grow with the speech. Ranks stay as asked for (the paper's rho of 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn


class InputMoments:
    """Second moments of the inputs of a model's LoRA layers, summed over positions.

    Args:
        model: A model with a LoRA adapter.

    Attributes:
        sums: By the layer's name, shape `(width, width)`, fp32, on the layer's device.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers = {name: part for name, part in model.named_modules() if isinstance(part, LoraLayer)}
        self.sums = {name: _zeros(layer) for name, layer in self.layers.items()}

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Add what flows through the model meanwhile."""
        with ExitStack() as hooks:
            for name, layer in self.layers.items():
                hooks.enter_context(cast(nn.Module, layer).register_forward_pre_hook(self._adding(name)))
            yield

    def _adding(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def add(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            rows = inputs[0].detach().flatten(0, -2).float()
            self.sums[name].addmm_(rows.T, rows)

        return add

    def start(self) -> None:
        """Let each layer's A hold the leading directions of its inputs."""
        for name, layer in self.layers.items():
            (adapter,) = layer.active_adapters
            down = cast(Tensor, layer.lora_A[adapter].weight)
            leading = leading_directions(self.sums[name], len(down))
            with torch.no_grad():
                down[: len(leading)].copy_(leading)


def leading_directions(moments: Tensor, count: int) -> Tensor:
    """Return the orthonormal directions along which most lies, the largest first; a row for each.

    Example:
        >>> leading_directions(torch.diag(torch.tensor([1.0, 9.0])), 1).abs().tolist()
        [[0.0, 1.0]]
    """
    vectors: Tensor = torch.linalg.eigh(moments.double()).eigenvectors
    return vectors.flip(1)[:, :count].T.float()


def _zeros(layer: LoraLayer) -> Tensor:
    down = cast(Tensor, next(iter(layer.lora_A.values())).weight)
    return torch.zeros(down.shape[1], down.shape[1], device=down.device)
