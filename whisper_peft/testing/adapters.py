"""What every adapter configuration promises: it attaches, learns, is saved whole, and fits into YAML."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from peft import PeftConfig
from torch import Tensor

from whisper_peft.errors import WhisperPeftError
from whisper_peft.model.adapters.attaching import attach_adapter, load_adapter, save_adapter
from whisper_peft.model.loading import Whisper
from whisper_peft.model.small_models import small_whisper
from whisper_peft.recipe.peft_configs import peft_config_fields, peft_config_from
from whisper_peft.recipe.sections import AdapterSection
from whisper_peft.testing.promises import promise

_TOLERANCE = 1e-4
"""Largest difference of a logit between an adapter in memory and the same one read from its folder."""


def check_adapter_config(config: PeftConfig) -> None:
    """Check that a configuration of PEFT's can be `adapter.config` of a recipe.

    Its type and fields can be written as YAML and read back; attached to a small Whisper some weights learn,
    all of them its own, and each gets a gradient; saved and loaded it says the same.

    Args:
        config: Any `peft.PeftConfig`.

    Raises:
        AssertionError: With the first promise that is broken.

    Example:
        >>> from peft import LoraConfig
        >>> check_adapter_config(LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    """
    try:
        fields = peft_config_fields(config)
        same = peft_config_fields(peft_config_from(fields)) == fields
        promise(same, f"{fields['peft_type']} changed when its fields were read back")
        with TemporaryDirectory() as folder:
            _check_life(config, Path(folder))
    except WhisperPeftError as error:
        raise AssertionError(f"the configuration does not work with Whisper: {error}") from error


def _check_life(config: PeftConfig, folder: Path) -> None:
    whisper = small_whisper(folder / "base")
    attach_adapter(whisper, AdapterSection(config=config), seed=0)
    learning = {name: weight for name, weight in whisper.model.named_parameters() if weight.requires_grad}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in learning.values():
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
    _logits(whisper).square().mean().backward()
    idle = [name for name, weight in learning.items() if weight.grad is None or not weight.grad.any()]
    promise(not idle, f"{idle[0] if idle else ''} gets no gradient: it would be saved and never learn")
    before = _logits(whisper).detach()
    save_adapter(whisper, folder / "adapter")
    again = small_whisper(folder / "again")
    load_adapter(again, folder / "adapter")
    difference = float((_logits(again).detach() - before).abs().max())
    promise(difference < _TOLERANCE, f"saved and loaded, its logits differ by {difference:.2g}")


def _logits(whisper: Whisper) -> Tensor:
    features = torch.linspace(-1, 1, 80 * 3000).reshape(1, 80, 3000).sin()
    tokens = torch.tensor([[50_258, 50_259, 50_359, 50_363, 440]])
    logits: Tensor = whisper.model(input_features=features, decoder_input_ids=tokens).logits
    return logits
