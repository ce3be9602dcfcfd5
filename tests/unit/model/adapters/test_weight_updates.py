"""How far layers were changed, told from folders, beside what PEFT itself would add to the weights."""

import json

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from whisper_peft.errors import AdapterError
from whisper_peft.model.adapters.attaching import (
    attach_adapter,
    load_adapter,
    save_adapter,
    starting_state,
)
from whisper_peft.model.adapters.folders import read_adapter_config
from whisper_peft.model.adapters.weight_updates import (
    adapter_updates,
    effective_rank,
    folder_updates,
    model_updates,
    nonzero_start,
    singular_values,
)
from whisper_peft.model.loading import load_whisper
from whisper_peft.recipe.sections import AdapterSection, ModelSection

MODULES = ["q_proj", "fc1", "fc2"]
ALPHAS = {"decoder.layers.1.fc2": 24}

SECTIONS = {
    "lora": AdapterSection(r=4, lora_alpha=6, targets=("q_proj", "fc2")),
    "rslora": AdapterSection(r=4, lora_alpha=6, use_rslora=True, targets=("q_proj", "fc2")),
    "dora": AdapterSection(r=4, lora_alpha=6, use_dora=True, targets=("q_proj", "fc2")),
    "alphas": AdapterSection(
        config=peft.LoraConfig(r=4, lora_alpha=6, alpha_pattern=ALPHAS, target_modules=MODULES)
    ),
    "adalora": AdapterSection(
        config=peft.AdaLoraConfig(init_r=6, target_r=4, lora_alpha=6, total_step=10, target_modules=MODULES)
    ),
    "vera": AdapterSection(config=peft.VeraConfig(r=8, target_modules=["q_proj", "out_proj"])),
}


def load(quantize="none"):
    section = ModelSection(name="openai/whisper-tiny.en", precision="fp32", device="cpu", quantize=quantize)
    return load_whisper(section)


def fill(model, seed=0):
    """Give every trained tensor values, as training does."""
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            weight.data = 0.02 * torch.randn_like(weight) + (1.0 if "magnitude" in name else 0.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a folder of each kind, and the updates that PEFT would add to the weights."""
    made = {}
    for name, section in SECTIONS.items():
        whisper = load()
        attach_adapter(whisper, section, seed=0)
        fill(whisper.model)
        folder = tmp_path_factory.mktemp("adapters") / name
        save_adapter(whisper, folder)
        again = load()
        load_adapter(again, folder)
        layers = {
            path.removeprefix("base_model.model.model."): layer.get_delta_weight("default").detach()
            for path, layer in again.model.named_modules()
            if isinstance(layer, peft.tuners.tuners_utils.BaseTunerLayer)
            and "layers." in path
            and path.rpartition(".")[2] in ("q_proj", "fc1", "fc2", "out_proj")
        }
        made[name] = folder, layers
    return made


@pytest.mark.parametrize("name", SECTIONS)
def test_norms_and_ranks_are_those_of_what_peft_adds(folders, name):
    folder, deltas = folders[name]
    found = folder_updates(folder)
    assert {one.layer for one in found.layers} == set(deltas)
    for one in found.layers:
        values = torch.linalg.svdvals(deltas[one.layer].double())
        assert one.norm == pytest.approx(float(values.square().sum().sqrt()), rel=1e-4), one.layer
        shares = values[values > 1e-7 * values[0]] / values.sum()
        assert one.effective_rank == pytest.approx(float((-shares * shares.log()).sum().exp()), rel=1e-3)


def test_layers_stand_in_the_order_of_the_model(folders):
    layers = [one.layer for one in folder_updates(folders["alphas"][0]).layers]
    assert layers[:3] == ["encoder.layers.0.self_attn.q_proj", "encoder.layers.0.fc1", "encoder.layers.0.fc2"]
    assert layers[12:14] == ["decoder.layers.0.self_attn.q_proj", "decoder.layers.0.encoder_attn.q_proj"]
    assert [one.split(".")[0] for one in layers] == ["encoder"] * 12 + ["decoder"] * 16


def test_shares_of_the_parts_are_of_the_squared_norms(folders):
    found = folder_updates(folders["lora"][0])
    whole = sum(one.norm**2 for one in found.layers)
    crossing = sum(one.norm**2 for one in found.layers if "encoder_attn" in one.layer)
    assert found.shares["decoder cross-attention"] == pytest.approx(crossing / whole)
    assert sum(found.shares.values()) == pytest.approx(1)


def test_adalora_counts_the_directions_that_it_kept(folders, tmp_path):
    folder, _ = folders["adalora"]
    state = load_file(folder / "adapter_model.safetensors")
    first = next(name for name in state if name.endswith("lora_E"))
    state[first][:2] = 0
    (tmp_path / "adapter_config.json").write_text((folder / "adapter_config.json").read_text())
    save_file(state, tmp_path / "adapter_model.safetensors")
    ranks = {one.layer: one.r for one in folder_updates(tmp_path).layers}
    layer = first.removeprefix("base_model.model.model.").removesuffix(".lora_E")
    assert ranks.pop(layer) == 4
    assert set(ranks.values()) == {6}


def test_ia3_tells_how_far_its_factors_are_from_one():
    whisper = load()
    config = peft.IA3Config(target_modules=["k_proj", "fc2"], feedforward_modules=["fc2"])
    attach_adapter(whisper, AdapterSection(config=config), seed=0)
    state = {
        name.replace(".default", ""): torch.full_like(weight, 1.25)
        for name, weight in whisper.model.named_parameters()
        if "ia3_l" in name
    }
    found = adapter_updates(config, state)
    assert found.measure == "factors"
    assert len(found.layers) == len(state)
    assert all(one.relative == pytest.approx(0.25) for one in found.layers)
    assert all(one.effective_rank is None for one in found.layers)


def test_an_untrained_adapter_has_no_norm_and_no_rank():
    whisper = load()
    attach_adapter(whisper, AdapterSection(r=2, targets=("q_proj",)), seed=0)
    state = {name: weight for name, weight in whisper.model.state_dict().items() if "lora_" in name}
    found = adapter_updates(
        whisper.model.peft_config["default"], {k.replace(".default", ""): v for k, v in state.items()}
    )
    assert {(one.norm, one.effective_rank) for one in found.layers} == {(0.0, 0.0)}
    assert found.shares == {}


def test_what_the_norm_leaves_out_is_said(folders, tmp_path):
    assert "DoRA also learns" in folder_updates(folders["dora"][0]).notes[0]
    folder, _ = folders["lora"]
    config = json.loads((folder / "adapter_config.json").read_text())
    config["init_lora_weights"] = "pissa"
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    save_file(load_file(folder / "adapter_model.safetensors"), tmp_path / "adapter_model.safetensors")
    assert "with pissa the update began as a part of the base" in folder_updates(tmp_path).notes[0]
    assert (folder_updates(tmp_path).measure, folder_updates(tmp_path).shares) == ("whole", {})


@pytest.mark.parametrize(
    ("start", "quantize"), [("pissa", "none"), ("pissa", "nf4"), ("loftq", "nf4"), ("loftq", "int8")]
)
def test_what_an_adapter_began_with_is_taken_off_or_said(start, quantize, tmp_path):
    whisper = load(quantize)
    section = AdapterSection(r=2, lora_alpha=6, init_lora_weights=start, targets=("q_proj",))
    attach_adapter(whisper, section, seed=0)
    layers = {
        path.removeprefix("base_model.model.model."): layer
        for path, layer in whisper.model.named_modules()
        if isinstance(layer, peft.tuners.lora.LoraLayer)
    }
    first = {name: layer.get_delta_weight("default").detach().double() for name, layer in layers.items()}
    torch.manual_seed(0)
    for name, weight in whisper.model.named_parameters():
        if "lora_" in name:
            weight.data += 0.01 * torch.randn_like(weight)
    save_adapter(whisper, tmp_path)
    began = starting_state(load(quantize), tmp_path, start)
    found = folder_updates(tmp_path, began=began)
    assert (found.measure, {one.r for one in found.layers}) == ("learned", {4})
    assert sum(found.shares.values()) == pytest.approx(1)
    for one in found.layers:
        last = layers[one.layer].get_delta_weight("default").detach().double()
        assert one.norm == pytest.approx(float((last - first[one.layer]).norm()), rel=1e-3)
    whole = folder_updates(tmp_path)
    assert (whole.measure, whole.shares) == ("whole", {})
    assert whole.notes[0].startswith(f"with {start} the update began")
    assert whole.sentences()[0].startswith("not told")


def test_a_loftq_adapter_that_is_trained_on_still_tells_how_it_began(tmp_path):
    whisper = load("nf4")
    attach_adapter(whisper, AdapterSection(r=2, init_lora_weights="loftq", targets=("q_proj",)), seed=0)
    save_adapter(whisper, tmp_path / "first")
    again = load("nf4")
    attach_adapter(again, AdapterSection(init=tmp_path / "first"), seed=0)
    save_adapter(again, tmp_path / "second")
    assert nonzero_start(read_adapter_config(tmp_path / "second")) == "loftq"


@pytest.mark.parametrize("start", ["zero", "eva"])
def test_a_start_at_zero_is_none_to_take_off(start, tmp_path):
    whisper = load()
    attach_adapter(whisper, AdapterSection(r=2, init_lora_weights=start, targets=("q_proj",)), seed=0)
    save_adapter(whisper, tmp_path)
    assert nonzero_start(read_adapter_config(tmp_path)) is None
    with pytest.raises(AdapterError, match=f"the start {start} cannot be found again"):
        starting_state(load(), tmp_path, start)


def test_factors_that_began_at_random_are_measured_whole(folders):
    state = load_file(folders["lora"][0] / "adapter_model.safetensors")
    found = adapter_updates(peft.LoraConfig(r=4, lora_alpha=6, init_lora_weights=False), state)
    assert found.measure == "whole"
    assert found.notes[0].startswith("with random the update began at random")


def test_a_kind_that_is_not_told_from_its_folder_says_so():
    found = adapter_updates(
        peft.LoHaConfig(target_modules=["q_proj"]), {"base_model.model.x.hada_w1_a": torch.ones(2, 2)}
    )
    assert (found.layers, found.notes) == ((), ("the update of a LOHA adapter is not told from its folder",))


def test_a_missing_adapter_is_an_error(tmp_path):
    with pytest.raises(AdapterError):
        folder_updates(tmp_path)


def test_models_are_compared_weight_by_weight(tiny_en):
    before = {name: weight.detach() for name, weight in tiny_en.core.named_parameters()}
    name = "model.decoder.layers.2.fc1.weight"
    after = {**before, name: before[name] * 1.5}
    found = model_updates(before, after)
    changed = [one for one in found.layers if one.norm]
    assert [(one.layer, one.relative) for one in changed] == [("decoder.layers.2.fc1", pytest.approx(0.5))]
    assert found.shares["decoder feed-forward"] == pytest.approx(1.0)
    assert found.measure == "weights"


def test_factors_longer_than_a_side_of_the_matrix_have_its_rank():
    torch.manual_seed(0)
    left, right = torch.randn(3, 8), torch.randn(8, 5)
    expected = torch.linalg.svdvals((left @ right).double())
    assert singular_values(left, right)[:3].tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_equal_directions_count_fully_and_a_weak_one_hardly():
    assert effective_rank(torch.ones(7)) == pytest.approx(7)
    assert 1 < effective_rank(torch.tensor([1.0, 0.01])) < 1.1
