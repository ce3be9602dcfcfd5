"""LoRA's linear layer in fewer passes over memory: PEFT's sums, added while they are multiplied.

PEFT computes `x W + b`, then `x A`, then `x A B`, scales it and adds it: three more results as large as the
layer's own on the way forward, and as many on the way back. Here the update is accumulated into the product
(`addmm`), and the backward pass keeps `x` and the narrow `x A` alone. In fp32, and with more rows than the
layer is wide, it costs less to add `scale * A B` to W first, for this product only, and to multiply once: of
the six narrow products of a forward and a backward pass four remain. Half precision would round the sum.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class FusedLoraLinear(LoraLinear):
    """PEFT's LoRA layer over frozen float weights, with a product of its own where nothing else is asked for.

    Merging, saving, switching off, several adapters, dropout and the variants of LoRA are PEFT's.
    """

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        """Return the layer's output for x of shape `(..., in features)`."""
        if args or options or not self._is_plain(x):
            result: Tensor = super().forward(x, *args, **options)
            return result
        (name,) = self.active_adapters
        base = cast(nn.Linear, self.get_base_layer())
        rows = x.reshape(-1, x.shape[-1]).to(base.weight.dtype)
        folds = rows.dtype == torch.float32 and len(rows) >= max(base.weight.shape)
        product = _FoldedProduct if folds else _LoraProduct
        out: Tensor = product.apply(  # type: ignore[no-untyped-call]
            rows,
            base.weight,
            base.bias,
            self.lora_A[name].weight,
            self.lora_B[name].weight,
            self.scaling[name],
        )
        return out.view(*x.shape[:-1], -1)

    def _is_plain(self, x: Tensor) -> bool:
        names = self.active_adapters
        if self.disable_adapters or self.merged or len(names) != 1 or names[0] not in self.lora_A:
            return False
        name, weight = names[0], self.get_base_layer().weight
        compute = (
            torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        )
        return (
            name not in self.lora_variant
            and isinstance(self.lora_dropout[name], nn.Identity)
            and not self.lora_bias[name]
            and not weight.requires_grad
            and weight.dtype == compute
        )


class _LoraProduct(torch.autograd.Function):
    """`x W' + b + scale * x A' B'` for a frozen W and b; with rows of x along the first dimension."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        low = x @ down.t().to(x.dtype)
        out = nn.functional.linear(x, weight, bias)
        out.addmm_(low, up.t().to(x.dtype), alpha=scale)
        ctx.save_for_backward(x, weight, down, up, low)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = gradients
        x, weight, down, up, low = ctx.saved_tensors
        grad_low = (grad @ up.to(grad.dtype)).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ weight
            grad_x.addmm_(grad_low, down.to(grad.dtype))
        grad_down = (grad_low.t() @ x).to(down.dtype)
        grad_up = (grad.t() @ low).mul_(ctx.scale).to(up.dtype)
        return grad_x, None, None, grad_down, grad_up, None


class _FoldedProduct(torch.autograd.Function):
    """The same with `W + scale * B A` in one product; it is folded again on the way back, not kept."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, down, up)
        ctx.scale = scale
        return nn.functional.linear(x, torch.addmm(weight, up, down, alpha=scale), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = gradients
        x, weight, down, up = ctx.saved_tensors
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ torch.addmm(weight, up, down, alpha=ctx.scale)
        grad_down = (grad @ up).mul_(ctx.scale).t() @ x
        grad_up = (grad.t() @ (x @ down.t())).mul_(ctx.scale)
        return grad_x, None, None, grad_down, grad_up, None


def fuse_lora(model: PeftModel) -> None:
    """Let the LoRA layers of this one model over frozen float weights take fewer passes over memory.

    Names of weights and saved files stay the same; PEFT itself is not patched.
    """
    for module in model.modules():
        if type(module) is LoraLinear and type(module.get_base_layer()) is nn.Linear:
            module.__class__ = FusedLoraLinear
