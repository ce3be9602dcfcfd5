"""What the machine multiplies at best: the roof that the share of useful FLOPs is measured against."""

from __future__ import annotations

import time

import torch

SIZES = (512, 1024, 2048, 4096)
"""Square matrices that are tried. Small ones fit the caches, large ones amortise the threads."""


def matmul_peak(
    dtype: torch.dtype, device: torch.device, *, sizes: tuple[int, ...] = SIZES, seconds: float = 0.5
) -> float:
    """Return the most operations a second that `torch.mm` reaches, with as many threads as training has.

    Args:
        dtype: Of both factors.
        device: Where.
        sizes: Widths of the square factors.
        seconds: Least time to spend on each size; its fastest product counts.

    Example:
        >>> matmul_peak(torch.float32, torch.device("cpu"), sizes=(64,), seconds=0.001) > 0
        True
    """
    return max(_fastest(size, dtype, device, seconds) for size in sizes)


def _fastest(size: int, dtype: torch.dtype, device: torch.device, seconds: float) -> float:
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    torch.mm(left, right)  # allocates, and chooses its kernel
    fastest, spent = float("inf"), 0.0
    while spent < seconds:
        _wait(device)
        started = time.perf_counter()
        torch.mm(left, right)
        _wait(device)
        once = time.perf_counter() - started
        fastest, spent = min(fastest, once), spent + once
    return 2 * size**3 / fastest


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
