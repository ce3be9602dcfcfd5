"""Lines that libraries print on correct use, silenced one by one, each with its reason."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

EXPECTED = {
    # Said at every int8 product in fp32 or bf16. The cast is LLM.int8() itself (Dettmers et al., 2022).
    "bitsandbytes.autograd._functions": "MatMul8bitLt: inputs will be cast from",
    # Said when PEFT imports bitsandbytes on a CPU with bf16. The `kernels` package would run code from the
    # Hub, so it is never installed; bitsandbytes' built-in kernels do the work.
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward from kernels-community",
}
"""Logger, and the beginning of the message that is dropped."""


class _DropMessage(logging.Filter):
    def __init__(self, start: str) -> None:
        super().__init__()
        self.start = start

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(self.start)


def silence_quantization() -> None:
    """Drop the `EXPECTED` messages of bitsandbytes, and no other; calling it again changes nothing."""
    for name, start in EXPECTED.items():
        logger = logging.getLogger(name)
        if not any(isinstance(present, _DropMessage) for present in logger.filters):
            logger.addFilter(_DropMessage(start))


@contextmanager
def no_loading_bar() -> Iterator[None]:
    """Hide transformers' progress bar, which takes a second's work and writes over our own."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


@contextmanager
def no_false_alarms_of_peft() -> Iterator[None]:
    """Drop two warnings that are PEFT's to mend.

    It reads a property under the name transformers has replaced, and takes AdaLoRA's rank pattern, which
    names weights, for one of LoRA, which names modules.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", r"(?s).*rank_pattern keys did not match.*\.lora_E", RuntimeWarning)
        yield
