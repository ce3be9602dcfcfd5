"""Every method attaches, learns, is saved, found again and folded; those that cannot say so first."""

from __future__ import annotations

import copy
from dataclasses import replace

import peft
import pytest
import torch
from peft.tuners.lora import LoraLayer
from transformers import WhisperConfig

from whisper_peft.errors import AdapterError, MergeError
from whisper_peft.model.adapters.attaching import (
    adapter_model,
    attach_adapter,
    check_adapter,
    load_adapter,
    save_adapter,
)
from whisper_peft.model.adapters.configs import adapter_config
from whisper_peft.model.adapters.inputs import InputMoments, leading_directions
from whisper_peft.model.adapters.rounded_weights import dequantized
from whisper_peft.model.blueprint import blueprint
from whisper_peft.model.loading import Whisper, load_whisper
from whisper_peft.pipeline.runs.contradictions import refuse_unfit_base
from whisper_peft.recipe.adapter_names import adapter_name
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import AdapterSection, ModelSection, Recipe

LAYER = "model.decoder.layers.1.encoder_attn.q_proj"

METHODS = {
    "LoRA": {},
    "rsLoRA": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "PiSSA": {"init_lora_weights": "pissa"},
    "EVA": {"init_lora_weights": "eva"},
    "AdaLoRA": {"method": "adalora"},
    "IA3": {"method": "ia3"},
    "VeRA": {"method": "vera"},
}
ROUNDED = {**METHODS, "LoftQ": {"init_lora_weights": "loftq"}}
IMPOSSIBLE = {("DoRA", "int8")}


def section(**fields) -> AdapterSection:
    return AdapterSection(**{"r": 4, "lora_alpha": 8, "targets": "q_proj,v_proj,fc2", **fields})


def rounded(quantize: str) -> Whisper:
    return load_whisper(
        ModelSection(name="openai/whisper-tiny.en", precision="fp32", device="cpu", quantize=quantize)
    )


def copy_of(shared: Whisper) -> Whisper:
    return replace(shared, model=copy.deepcopy(shared.model))


def learn(whisper: Whisper, steps: int = 3) -> list[float]:
    """Take steps towards an arbitrary target, and return the losses."""
    weights = [weight for weight in whisper.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = -logits(whisper).log_softmax(-1)[..., 1000].mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def logits(whisper: Whisper) -> torch.Tensor:
    sound = torch.randn(1, 80, 200, generator=torch.Generator().manual_seed(0))
    return whisper.core(input_features=sound, decoder_input_ids=torch.tensor([[50257, 50362]])).logits


def says(whisper: Whisper) -> torch.Tensor:
    with torch.no_grad():
        return logits(whisper)


def layer(whisper: Whisper) -> LoraLayer:
    return whisper.core.get_submodule(LAYER)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_is_found_again_and_folds_into_the_base(name, tiny_en, tmp_path):
    whisper = copy_of(tiny_en)
    attach_adapter(whisper, section(**METHODS[name]), seed=0)
    losses = learn(whisper)
    assert losses[-1] < losses[0]
    save_adapter(whisper, tmp_path)
    again = copy_of(tiny_en)
    load_adapter(again, tmp_path)
    assert (says(again) - says(whisper)).abs().max() < 2e-4
    tuned = says(again)
    again.model = adapter_model(again).merge_and_unload()
    assert (says(again) - tuned).abs().max() < 2e-3


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
@pytest.mark.parametrize("name", ROUNDED)
def test_a_method_learns_on_rounded_weights_and_is_found_again(name, quantize, tmp_path):
    whisper, chosen = rounded(quantize), section(**ROUNDED[name])
    if (name, quantize) in IMPOSSIBLE:
        with pytest.raises(AdapterError, match=r"use_dora with model\.quantize int8"):
            check_adapter(whisper, chosen)
        return
    attach_adapter(whisper, chosen, seed=0)
    losses = learn(whisper)
    assert losses[-1] < losses[0]
    save_adapter(whisper, tmp_path)
    again = rounded(quantize)
    load_adapter(again, tmp_path)
    whisper.model.eval()
    assert (says(again) - says(whisper)).abs().max() < 2e-4


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
def test_loftq_begins_nearer_to_the_float_model_than_rounding_alone(quantize, tiny_en):
    plain, started = rounded(quantize), rounded(quantize)
    attach_adapter(plain, section(r=32, lora_alpha=64), seed=0)
    attach_adapter(started, section(r=32, lora_alpha=64, init_lora_weights="loftq"), seed=0)
    wanted = tiny_en.core.get_submodule(LAYER).weight.float()
    base = dequantized(layer(started).get_base_layer())
    assert torch.equal(base, dequantized(layer(plain).get_base_layer()))
    update = layer(started).get_delta_weight("default").detach()
    left, lost = float((wanted - base - update).norm()), wanted - base
    assert left == pytest.approx(float(torch.linalg.svdvals(lost)[32:].norm()), rel=1e-3)
    assert left < 0.95 * float(lost.norm())


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
def test_pissa_on_rounded_weights_holds_what_is_largest_and_rounds_the_rest(quantize, tiny_en):
    whisper = rounded(quantize)
    attach_adapter(whisper, section(r=32, lora_alpha=64, init_lora_weights="pissa"), seed=0)
    wanted = tiny_en.core.get_submodule(LAYER).weight.float()
    update = layer(whisper).get_delta_weight("default").detach()
    values = torch.linalg.svdvals(wanted)
    assert torch.linalg.svdvals(update)[:32].numpy() == pytest.approx(values[:32].numpy(), rel=1e-3)
    left = wanted - update - dequantized(layer(whisper).get_base_layer())
    plain = wanted - dequantized(rounded(quantize).core.get_submodule(LAYER))
    assert left.norm() < plain.norm()


def test_eva_starts_in_the_directions_of_the_inputs_and_says_what_the_base_says(tiny_en):
    whisper = copy_of(tiny_en)
    attach_adapter(whisper, section(init_lora_weights="eva"), seed=0)
    inputs: list[torch.Tensor] = []
    hook = layer(whisper).register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    moments = InputMoments(whisper.model)
    with moments.collecting():
        before = says(whisper)
    hook.remove()
    moments.start()
    rows = torch.cat([one.flatten(0, -2) for one in inputs])
    _, _, right = torch.linalg.svd(rows, full_matrices=False)
    found = layer(whisper).lora_A["default"].weight
    kept = min(len(right), 4)
    assert (found[:kept] @ right[:kept].T).abs().diagonal().tolist() == pytest.approx([1.0] * kept, abs=1e-3)
    assert torch.equal(says(whisper), before)


def test_leading_directions_come_in_order_and_are_of_length_one():
    rows = torch.randn(500, 6, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        [5.0, 1, 9, 1, 1, 3]
    )
    found = leading_directions(rows.T @ rows, 3)
    assert found.abs().argmax(dim=1).tolist() == [2, 0, 5]
    assert torch.allclose(found @ found.T, torch.eye(3), atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_plan_counts_what_learns_without_weights(name, tiny_en):
    whisper = copy_of(tiny_en)
    chosen = section(**METHODS[name])
    summary = attach_adapter(whisper, chosen, seed=0)
    planned = blueprint(WhisperConfig.from_dict(tiny_en.config.to_dict()), chosen)
    assert planned.trainable_weights == summary.trainable


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"method": "ia3", "use_dora": True}, "adapter.use_dora is True and adapter.method is ia3"),
        (
            {"method": "vera", "init_lora_weights": "eva"},
            "init_lora_weights is eva and adapter.method is vera",
        ),
        (
            {"config": peft.LoraConfig(r=4, init_lora_weights="eva", eva_config=peft.EvaConfig())},
            "--adapter.init-lora-weights eva",
        ),
        ({"config": peft.LoraConfig(r=4, init_lora_weights="pissa_niter_4")}, "would draw otherwise"),
    ],
)
def test_what_a_method_does_not_know_is_refused(fields, said, tiny_en):
    with pytest.raises(AdapterError, match=said):
        adapter_config(tiny_en.core, section(**fields))


def test_loftq_without_rounding_is_refused_before_training(tiny_en):
    with pytest.raises(AdapterError, match="nothing is rounded"):
        check_adapter(tiny_en, section(init_lora_weights="loftq"))


@pytest.mark.parametrize(
    ("start", "base", "said"),
    [("loftq", "float", "use --base dequantized"), ("pissa", "dequantized", "use --base float")],
)
def test_a_start_in_rounded_weights_is_merged_into_its_own_base_or_not_at_all(start, base, said):
    fields = {"model.quantize": "nf4", "adapter.init_lora_weights": start, "merge.base": base}
    with pytest.raises(MergeError, match=said):
        refuse_unfit_base(apply_overrides(Recipe(), fields))


@pytest.mark.parametrize(("name", "fields"), ROUNDED.items())
def test_a_method_is_called_as_it_was_published(name, fields):
    assert adapter_name(AdapterSection(**fields)) == name
