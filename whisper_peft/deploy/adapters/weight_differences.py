"""A model minus another: a base got back from a merged model, and a LoRA of a full fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from whisper_peft.deploy.adapters.values import ExtractedAdapter, UnmergedBase
from whisper_peft.errors import AdapterError
from whisper_peft.model.adapters.activity import check_activity
from whisper_peft.model.adapters.attaching import adapter_model, attach_adapter, save_adapter
from whisper_peft.model.adapters.folders import refuse_used
from whisper_peft.model.adapters.scales import refuse_unscalable, scaled
from whisper_peft.model.checkpoints.companions import save_companions
from whisper_peft.model.library_noise import no_loading_bar
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import AdapterSection

TIED = "proj_out.weight"


def write_unmerged_base(
    merged: Whisper, *, scale: float, base: tuple[str, Mapping[str, Tensor]] | None, output_dir: Path
) -> UnmergedBase:
    """Take an adapter's update out of a merged model, and write the base that is left.

    The difference is computed in fp64 and rounded once: what remains is the rounding of the merge itself.

    Args:
        merged: The merged model in fp32, with the adapter attached to it; it is used up.
        scale: The scale that it was merged at.
        base: Name and weights of the base to compare with. None: it is not at hand.
        output_dir: Folder to write.

    Raises:
        AdapterError: If the adapter is more than an update of weights, or the base is of another shape.
        StorageError: If the folder is in use.
    """
    refuse_unscalable(merged)
    refuse_used(output_dir)
    layers = list(_lora_layers(adapter_model(merged)))
    with scaled(merged, scale), torch.no_grad():
        for _, layer in layers:
            weight = _base_weight(layer)
            weight.data = (weight.double() - _update(layer)).float()
    core = cast(Any, adapter_model(merged)).unload()
    with no_loading_bar():
        core.save_pretrained(output_dir)
    save_companions(merged.companions, output_dir)
    if base is None:
        return UnmergedBase(str(output_dir), len(layers), None, None, None)
    name, weights = base
    return UnmergedBase(str(output_dir), len(layers), name, *_distance(state_of(core), weights, name))


def write_extracted_adapter(
    base: Whisper, tuned: Mapping[str, Tensor], *, section: AdapterSection, output_dir: Path
) -> ExtractedAdapter:
    """Write the LoRA nearest to a fully tuned model's update at its rank (Eckart and Young, 1936).

    Args:
        base: The model before tuning, in fp32; it becomes the adapter model.
        tuned: Weights of the tuned model by name, as `state_of` gives them.
        section: Rank and targets.
        output_dir: Folder to write.

    Raises:
        AdapterError: If the two are not of one shape, are equal where the adapter reaches, or the rank is
            larger than a layer.
        StorageError: If the folder is in use or cannot be written.
    """
    refuse_used(output_dir)
    before = state_of(base.core)
    _refuse_other_shape(before, tuned)
    whole = sum(
        float((tuned[name].double() - weight.double()).square().sum()) for name, weight in before.items()
    )
    attach_adapter(base, section, seed=0)
    energies = {
        name: _fill(layer, tuned[f"{name}.weight"], section.r)
        for name, layer in _lora_layers(adapter_model(base))
    }
    kept, reached = (sum(pair[place] for pair in energies.values()) for place in (0, 1))
    if not reached:
        raise AdapterError(
            "the tuned model has no update to extract",
            "the weights of all targets equal those of the base",
            "check that the two are not the same model, or choose other --targets",
        )
    check_activity(base)
    save_adapter(base, output_dir)
    layers = {name: kept_here / there if there else 1.0 for name, (kept_here, there) in energies.items()}
    return ExtractedAdapter(
        str(output_dir),
        base.checkpoint.name,
        section.r,
        kept / reached,
        max(1 - reached / whole, 0.0),
        layers,
    )


def _fill(layer: LoraLayer, tuned: Tensor, r: int) -> tuple[float, float]:
    """Set the matrices to the best of their rank; return the squared update that they hold, and the whole."""
    update = tuned.double() - _base_weight(layer).double()
    if r > min(update.shape):
        raise AdapterError(
            f"r is {r}", f"a layer of {tuple(update.shape)} has rank {min(update.shape)} at most", "give less"
        )
    left, values, right = torch.linalg.svd(update, full_matrices=False)
    root = values[:r].sqrt()
    (name,) = layer.lora_A
    # half of each value on each side, and the scale that LoRA multiplies by on neither
    share = root / layer.scaling[name] ** 0.5
    _matrix(layer.lora_B[name]).data.copy_(left[:, :r] * share)
    _matrix(layer.lora_A[name]).data.copy_(share[:, None] * right[:r])
    return float(values[:r].square().sum()), float(values.square().sum())


def state_of(core: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a model by name, the tied output projection left out; they are not copied."""
    return {name: weight.detach() for name, weight in core.named_parameters() if name != TIED}


def _refuse_other_shape(before: Mapping[str, Tensor], tuned: Mapping[str, Tensor]) -> None:
    problems = [
        f"{name} has shape {tuple(weight.shape)} in the base and {tuple(tuned[name].shape)} in the other"
        for name, weight in before.items()
        if name in tuned and tuned[name].shape != weight.shape
    ]
    problems += [f"{name} is in one of them only" for name in sorted(before.keys() ^ tuned.keys())]
    if problems:
        raise AdapterError(
            "the two models are not of one shape",
            f"{problems[0]}, and {len(problems) - 1} more",
            "give the base that the model was tuned from",
        )


def _distance(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], name: str) -> tuple[float, float]:
    """Return the largest difference of any weight, and the fraction that is equal to the bit."""
    try:
        _refuse_other_shape(wanted, found)
    except AdapterError as error:
        raise AdapterError(f"{name} is not the base: {error.what}", error.why, error.todo) from None
    pairs = [(found[name], wanted[name]) for name in wanted]
    largest = max(float((one - other).abs().max()) for one, other in pairs)
    equal = sum(int((one == other).sum()) for one, other in pairs)
    return largest, equal / sum(weight.numel() for weight in wanted.values())


def _lora_layers(model: PeftModel) -> Iterator[tuple[str, LoraLayer]]:
    """Yield the adapted layers by the names that they have in the bare model."""
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            yield name.removeprefix("base_model.model."), layer


def _update(layer: LoraLayer) -> Tensor:
    """Return the update as the merge computes it, in fp32, widened to fp64."""
    (name,) = layer.lora_A
    update: Tensor = cast(Any, layer).get_delta_weight(name)
    return update.double()


def _base_weight(layer: LoraLayer) -> nn.Parameter:
    return cast(nn.Parameter, layer.get_base_layer().weight)


def _matrix(part: nn.Module) -> nn.Parameter:
    return cast(nn.Parameter, part.weight)
