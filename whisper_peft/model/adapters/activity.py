"""Whether a loaded adapter does anything: no run, server or export may go on without it unnoticed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from whisper_peft.errors import AdapterError

if TYPE_CHECKING:
    from whisper_peft.model.loading import Whisper

PROBE_FRAMES = 100
"""Log-mel frames of the probe, one second: every layer runs, at a thirtieth of the work of a window."""

_TODO = "load it with whisper_peft's own load, which attaches it, or train it anew on this base"


def check_activity(whisper: Whisper) -> str | None:
    """Refuse an adapter that is not applied, and return a warning for one that is empty.

    The model hears a second of fixed noise twice, with the active adapter and without. It takes milliseconds
    for small models, and is left as it was.

    Args:
        whisper: A model with an adapter, ready to listen.

    Returns:
        None where the adapter changes the logits; a sentence where it has nothing to apply yet.

    Raises:
        AdapterError: If adapted layers are switched off or never run, or the logits are those of the base.
    """
    model = cast(PeftModel, whisper.model)
    layers = {name: part for name, part in model.named_modules() if isinstance(part, BaseTunerLayer)}
    _refuse_idle(layers)
    features = torch.randn(1, whisper.num_mel_bins, PROBE_FRAMES, generator=torch.Generator().manual_seed(0))
    with _reached(layers) as reached:
        tuned = _first_logits(whisper, features)
    if missed := sorted(layers.keys() - reached):
        raise _not_applied(f"{len(missed)} of its {len(layers)} layers never run, such as {missed[0]}")
    with _without(model):
        base = _first_logits(whisper, features)
    if not torch.equal(tuned, base):
        return None
    if not _has_update(layers.values()):
        return "the adapter is untrained: its update is zero, and the model says what its base says"
    if whisper.precision.compute_dtype != torch.float32:
        return f"the adapter's update is too small to be seen in {whisper.precision.name}"
    raise _not_applied("the logits with and without it are equal to the bit")


def _not_applied(why: str) -> AdapterError:
    return AdapterError("the adapter is not applied", why, _TODO)


def _refuse_idle(layers: dict[str, BaseTunerLayer]) -> None:
    if not layers:
        raise _not_applied("the model has no adapted layer")
    off = [name for name, layer in layers.items() if layer.disable_adapters or not layer.active_adapters]
    if off:
        raise _not_applied(f"it is switched off in {len(off)} of {len(layers)} layers, such as {off[0]}")


@contextmanager
def _reached(layers: dict[str, BaseTunerLayer]) -> Iterator[set[str]]:
    """Collect the names of the layers that run."""
    reached: set[str] = set()

    def note(name: str) -> Any:
        return lambda *_: reached.add(name)

    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.enter_context(cast(nn.Module, layer).register_forward_hook(note(name)))
        yield reached


@contextmanager
def _without(model: PeftModel) -> Iterator[None]:
    """Switch the adapter off; what learned before learns after, and nothing else."""
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    try:
        with model.disable_adapter():
            yield
    finally:
        # on leaving, PEFT makes the adapter trainable, whether it was or not
        model.requires_grad_(False)
        for weight in learning:
            weight.requires_grad_(True)


def _has_update(layers: Any) -> bool:
    """Tell whether an active adapter holds an update; of other methods than LoRA it is taken for granted."""
    for layer in layers:
        for name in layer.active_adapters:
            if not isinstance(layer, LoraLayer):
                return True
            if name in layer.scaling and bool(cast(Any, layer).get_delta_weight(name).any()):
                return True
    return False


@torch.no_grad()
def _first_logits(whisper: Whisper, features: Tensor) -> Tensor:
    start = torch.full((len(features), 1), whisper.config.decoder_start_token_id, device=whisper.device)
    with whisper.precision.autocast(whisper.device):
        sound = features.to(whisper.device, whisper.precision.weights_dtype)
        output = whisper.core(input_features=sound, decoder_input_ids=start, use_cache=False)
    logits: Tensor = output.logits
    return logits
