"""One precision policy for training, evaluation and generation.

Frozen weights are stored in the dtype that is computed in, so they cost half the memory in bf16 and fp16.
What learns (the adapter, or every weight in full fine-tuning) is always fp32, under autocast.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from whisper_peft.errors import ModelError
from whisper_peft.recipe.sections import ModelSection

PrecisionName: TypeAlias = Literal["fp32", "bf16", "fp16"]

DTYPES: dict[PrecisionName, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


DeviceName: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]
"""What `model.device` takes."""


@dataclass(frozen=True)
class Precision:
    """What weights are stored in and what is computed in.

    Args:
        name: The recipe's word for it.
        weights_dtype: Dtype of the frozen float weights, and of the features that the encoder is given.
        compute_dtype: Dtype of matrix products.
        values_dtype: Frozen weights are rounded to this before they are stored in `weights_dtype`.
        needs_scaler: Whether gradients need loss scaling, which fp16's narrow range does.
        reason: Why this precision, in one sentence.
    """

    name: PrecisionName
    weights_dtype: torch.dtype
    compute_dtype: torch.dtype
    values_dtype: torch.dtype
    needs_scaler: bool
    reason: str

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context in which every forward pass runs.

        Example:
            >>> precision = choose_precision(ModelSection(precision="bf16"), torch.device("cpu"))
            >>> with precision.autocast(torch.device("cpu")):
            ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
            torch.bfloat16
        """
        enabled = self.compute_dtype != torch.float32
        return torch.autocast(device.type, dtype=self.compute_dtype if enabled else None, enabled=enabled)


def choose_device(name: DeviceName) -> torch.device:
    """Return the device of `model.device`; auto is CUDA, else MPS, else the CPU.

    Raises:
        ModelError: If the device that is asked for is not there.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    chosen = next(device for device in present if present[device]) if name == "auto" else name
    if not present[chosen]:
        raise ModelError(
            f"model.device is {chosen}",
            f"torch {torch.__version__} finds no such device here",
            "use --model.device auto, or install the torch build for it",
        )
    return torch.device("cuda", torch.cuda.current_device()) if chosen == "cuda" else torch.device(chosen)


def choose_precision(section: ModelSection, device: torch.device) -> Precision:
    """Return the precision of a model on a device, with the reason.

    Raises:
        ModelError: If the device cannot compute in it.

    Example:
        >>> choose_precision(ModelSection(), torch.device("cpu")).reason.partition(";")[0]
        'fp32: chosen for the CPU, which is exact and has no memory to save'
    """
    if device.type == "mps":
        _refuse_on_mps(section)
    name, reason = _choose_name(section, device)
    dtype = DTYPES[name]
    if name == "fp16" and device.type == "cpu":
        return _fp16_on_cpu()
    return Precision(name, dtype, dtype, dtype, needs_scaler=name == "fp16", reason=f"{name}: {reason}")


def _choose_name(section: ModelSection, device: torch.device) -> tuple[PrecisionName, str]:
    if section.precision != "auto":
        if section.precision == "bf16" and device.type == "cuda" and not _gpu_has_bf16():
            raise ModelError(
                f"model.precision is bf16 on {torch.cuda.get_device_name(device)}",
                "the GPU has no bf16 arithmetic (it came with Ampere)",
                "use --model.precision fp16",
            )
        return section.precision, "as asked"
    if device.type == "cuda":
        if _gpu_has_bf16():
            return "bf16", "chosen for a GPU that has it"
        return "fp16", "chosen for a GPU without bf16"
    if device.type == "mps":
        return "fp32", "chosen for MPS, where bf16 saves memory but little time"
    reason = "chosen for the CPU, which is exact and has no memory to save"
    if _cpu_multiplies_bf16():
        reason += "; this one has bf16 units, and --model.precision bf16 trains about twice as fast"
    return "fp32", reason


def _gpu_has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _fp16_on_cpu() -> Precision:
    half, reason = torch.float16, "fp16: as asked"
    if _cpu_multiplies_fp16():
        return Precision("fp16", half, half, half, needs_scaler=True, reason=reason)
    reason += (
        ", by rounding the weights to fp16 and computing in fp32, since this CPU has no fp16 matrix units "
        "and would be many times slower; bf16 is the fast choice here"
    )
    return Precision("fp16", torch.float32, torch.float32, half, needs_scaler=False, reason=reason)


def _cpu_multiplies_bf16() -> bool:
    """Return whether the CPU has bf16 units (avx512_bf16, amx_bf16); oneDNN also runs it without them."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _cpu_multiplies_fp16() -> bool:
    """Return whether oneDNN finds fp16 units (avx512_fp16, amx_fp16).

    Without them a linear layer of 384 x 1536 over 1500 positions took 119 ms forward and 805 ms with its
    backward pass on one core, against 20 and 77 ms in fp32, and 5 and 10 ms in bf16 (torch 2.13, AMD EPYC).
    """
    return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())


def _refuse_on_mps(section: ModelSection) -> None:
    if section.quantize != "none":
        raise ModelError(
            f"model.quantize is {section.quantize} on MPS",
            "bitsandbytes quantises on CUDA and the CPU only",
            "use --model.quantize none, or --model.device cpu",
        )
    if section.precision == "fp16":
        raise ModelError(
            "model.precision is fp16 on MPS",
            "its gradients overflow there: torch has no loss scaling for MPS",
            "use --model.precision bf16 or fp32",
        )
