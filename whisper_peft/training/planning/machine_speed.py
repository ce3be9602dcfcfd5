"""How fast this machine is, found out in about a second: what a cost model's constants are scaled by."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from whisper_peft.measuring import fastest_run

PRODUCT_WIDTH = 1024
"""Width of the square factors that are multiplied; on CPUs 512 and 2048 came within 4 % of it."""

MAPPED_VALUES = 16 * 2**20
"""Values of the fresh block that is written: 64 MiB, which the system maps page by page."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class MachineSpeed:
    """What was measured: operations a second of a product, and bytes a second of writing fresh memory."""

    products_per_second: float
    fresh_bytes_per_second: float


def measure_speed(precision: str, device: torch.device, *, seconds: float = 0.1) -> MachineSpeed:
    """Measure a product in a precision, and writing to fresh memory.

    Args:
        precision: fp32, bf16 or fp16.
        device: Where.
        seconds: Least time to spend on each; the fastest run counts.

    Example:
        >>> measure_speed("fp32", torch.device("cpu"), seconds=0.01).products_per_second > 1e8
        True
    """
    wide = (PRODUCT_WIDTH, PRODUCT_WIDTH)
    left, right = (torch.randn(wide, device=device).to(DTYPES[precision]) for _ in range(2))

    def multiply() -> None:
        torch.mm(left, right)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    def fill() -> None:
        torch.ones(MAPPED_VALUES, device=device)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    return MachineSpeed(
        products_per_second=2 * PRODUCT_WIDTH**3 / fastest_run(multiply, seconds),
        fresh_bytes_per_second=4 * MAPPED_VALUES / fastest_run(fill, seconds),
    )
