from __future__ import annotations

import copy
import logging
from dataclasses import replace

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from whisper_peft.errors import AdapterError, StorageError
from whisper_peft.model.adapters.activity import check_activity
from whisper_peft.model.adapters.attaching import (
    attach_adapter,
    check_adapter,
    load_adapter,
    save_adapter,
)
from whisper_peft.model.adapters.folders import adapter_state
from whisper_peft.model.loading import Whisper, load_whisper
from whisper_peft.recipe.sections import AdapterSection, ModelSection

BLOCKS = 4
"""Of the encoder and of the decoder of tiny.en."""


def rounded(**fields) -> Whisper:
    return load_whisper(ModelSection(**{"precision": "fp32", "device": "cpu", **fields}))


def copy_of(shared: Whisper) -> Whisper:
    return replace(shared, model=copy.deepcopy(shared.model))


@pytest.fixture
def whisper(tiny_en) -> Whisper:
    """Return a tiny.en of the test's own."""
    return copy_of(tiny_en)


def small(**fields) -> AdapterSection:
    return AdapterSection(**{"r": 2, "lora_alpha": 4, **fields})


def disturb(whisper: Whisper) -> None:
    """Give a fresh adapter an effect, as training would."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in whisper.model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.02)


def sound(frames: int = 200) -> torch.Tensor:
    return torch.randn(1, 80, frames, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("targets", "layers"),
    [
        ("attention", 4 * BLOCKS + 8 * BLOCKS),
        ("all-linear", 6 * BLOCKS + 10 * BLOCKS),
        ("encoder-only", 6 * BLOCKS),
        ("decoder-only", 10 * BLOCKS),
        ("q_proj, v_proj", 2 * BLOCKS + 4 * BLOCKS),
        (("encoder_attn.q_proj",), BLOCKS),
    ],
)
def test_a_preset_adapts_exactly_its_layers_and_only_their_adapters_learn(targets, layers, whisper):
    summary = attach_adapter(whisper, small(targets=targets), seed=0)
    assert len(summary.names) == 2 * layers
    assert all("lora_" in name for name in summary.names)
    learning = sum(weight.numel() for weight in whisper.model.parameters() if weight.requires_grad)
    assert summary.trainable == learning == sum(t.numel() for t in adapter_state(whisper.model).values())
    assert f"{learning:,} of {summary.total:,} parameters learn" in summary.sentence()


@pytest.mark.parametrize("name", ["q_projj", "proj_out", "layer_norm", "conv1"])
def test_an_unknown_target_is_answered_with_the_known_ones(name, whisper):
    with pytest.raises(AdapterError, match=rf"'{name}'.*Known: all-linear, attention, .*fc1, .*q_proj"):
        attach_adapter(whisper, small(targets=(name,)), seed=0)


@pytest.mark.parametrize(("use_rslora", "scale"), [(False, 8 / 4), (True, 8 / 2)])
def test_the_scale_is_alpha_over_r_or_over_its_root(use_rslora, scale, whisper):
    attach_adapter(whisper, AdapterSection(r=4, lora_alpha=8, use_rslora=use_rslora), seed=0)
    assert whisper.core.model.encoder.layers[0].fc1.scaling["default"] == scale


def test_initial_values_follow_the_seed_and_leave_the_global_generator_alone(tiny_en):
    torch.manual_seed(3)
    expected = torch.rand(4)
    states = []
    for seed in (1, 1, 2):
        whisper = copy_of(tiny_en)
        torch.manual_seed(3)
        attach_adapter(whisper, small(targets=("q_proj",)), seed=seed)
        assert torch.equal(torch.rand(4), expected)
        states.append(adapter_state(whisper.model))
    same = [all(torch.equal(states[0][name], other[name]) for name in other) for other in states[1:]]
    assert same == [True, False]


@pytest.mark.parametrize("quantize", ["none", "int8", "nf4"])
def test_adapter_weights_are_fp32_over_any_base(quantize):
    whisper = rounded(precision="bf16", quantize=quantize)
    attach_adapter(whisper, small(), seed=0)
    dtypes = {weight.dtype for weight in whisper.model.parameters() if weight.requires_grad}
    assert dtypes == {torch.float32}


def test_full_fine_tuning_learns_everything_but_the_sinusoids_from_exact_fp32_weights(tiny_en):
    whisper = rounded(precision="bf16")
    summary = attach_adapter(whisper, AdapterSection(method="full"), seed=0)
    frozen = {name for name, weight in whisper.model.named_parameters() if not weight.requires_grad}
    assert frozen == {"model.encoder.embed_positions.weight"}
    assert summary.trainable == summary.total - 1500 * 384
    assert whisper.precision.compute_dtype == torch.bfloat16
    for name, weight in tiny_en.core.state_dict().items():
        assert torch.equal(whisper.core.state_dict()[name], weight), name


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
def test_full_fine_tuning_of_rounded_weights_is_refused(quantize):
    with pytest.raises(AdapterError, match=f"model.quantize is {quantize} - rounded weights cannot learn"):
        attach_adapter(rounded(quantize=quantize), AdapterSection(method="full"), seed=0)


def test_int8_with_dora_is_refused_before_it_crashes():
    with pytest.raises(AdapterError, match=r"use_dora.*int8.*--model.quantize nf4"):
        attach_adapter(rounded(quantize="int8"), small(use_dora=True), seed=0)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (peft.IA3Config(target_modules=["k_proj", "v_proj", "fc2"], feedforward_modules=["fc2"]), "IA3"),
        (peft.AdaLoraConfig(init_r=4, target_r=2, total_step=10, target_modules=["q_proj"]), "AdaLoRA"),
        (peft.LoraConfig(r=2, task_type="SEQ_2_SEQ_LM"), "LoRA"),
    ],
)
def test_any_config_of_peft_is_attached_and_the_callers_own_is_left_alone(config, kind, whisper):
    before = dict(vars(config))
    summary = attach_adapter(whisper, AdapterSection(config=config), seed=0)
    assert f"a fresh {kind} adapter" in summary.sentence()
    assert whisper.model.peft_config["default"].task_type is None
    assert vars(config) == before
    whisper.core(input_features=sound(), decoder_input_ids=torch.tensor([[50257]]))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (peft.PrefixTuningConfig(num_virtual_tokens=4), "Whisper's input is sound"),
        (peft.LoraConfig(bias="all", target_modules="nothing"), "PEFT cannot attach"),
        ({"r": 8}, "peft.PeftConfig"),
    ],
)
def test_a_config_that_cannot_be_attached_is_refused_in_words(config, words, whisper):
    with pytest.raises(AdapterError, match=words):
        attach_adapter(whisper, AdapterSection(config=config), seed=0)


def test_a_second_adapter_is_refused(whisper):
    attach_adapter(whisper, small(targets=("q_proj",)), seed=0)
    with pytest.raises(AdapterError, match=r"--adapter\.init"):
        attach_adapter(whisper, small(), seed=0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_en) -> tuple[object, dict[str, torch.Tensor]]:
    """Return a folder with an adapter on the q_proj of tiny.en, and its tensors."""
    folder = tmp_path_factory.mktemp("adapter")
    whisper = copy_of(tiny_en)
    attach_adapter(whisper, small(targets=("q_proj",)), seed=0)
    disturb(whisper)
    save_adapter(whisper, folder)
    return folder, load_file(folder / "adapter_model.safetensors")


def loaded_state(folder, whisper: Whisper) -> dict[str, torch.Tensor]:
    load_adapter(whisper, folder)
    assert check_activity(whisper) is None
    assert not any(weight.requires_grad for weight in whisper.model.parameters())
    return adapter_state(whisper.model)


def assert_same(found, expected) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_saved_adapter_comes_back_to_the_bit_and_names_its_base(saved, whisper):
    folder, state = saved
    assert_same(loaded_state(folder, whisper), state)
    assert peft.PeftConfig.from_pretrained(str(folder)).base_model_name_or_path == "openai/whisper-tiny.en"


def test_fp32_adapter_bits_survive_a_bf16_base(saved):
    folder, state = saved
    whisper = rounded(precision="bf16")
    load_adapter(whisper, folder)
    assert_same(adapter_state(whisper.model), state)


def test_training_goes_on_from_a_saved_adapter(saved, whisper):
    folder, state = saved
    summary = attach_adapter(whisper, AdapterSection(r=64, init=folder), seed=5)
    assert f"on from {folder}" in summary.sentence()
    assert summary.trainable == sum(tensor.numel() for tensor in state.values())
    assert_same(adapter_state(whisper.model), state)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.removeprefix("base_model.model."),
        lambda name: name.removeprefix("base_model.model.model."),
        lambda name: "base_model.model." + name,
        lambda name: name.replace(".weight", ".default.weight"),
    ],
)
def test_weights_under_foreign_names_are_found(saved, tmp_path, rename, caplog, whisper):
    folder, state = saved
    (tmp_path / "adapter_config.json").write_bytes((folder / "adapter_config.json").read_bytes())
    save_file(
        {rename(name): tensor for name, tensor in state.items()}, tmp_path / "adapter_model.safetensors"
    )
    with caplog.at_level(logging.WARNING):
        assert_same(loaded_state(tmp_path, whisper), state)
    assert "were renamed" in caplog.text


def test_a_foreign_task_type_is_repaired_and_told(saved, tmp_path, caplog, whisper):
    folder, state = saved
    config = (folder / "adapter_config.json").read_text()
    (tmp_path / "adapter_config.json").write_text(
        config.replace('"task_type": null', '"task_type": "SEQ_2_SEQ_LM"')
    )
    torch.save(state, tmp_path / "adapter_model.bin")
    assert_same(loaded_state(tmp_path, whisper), state)
    assert "SEQ_2_SEQ_LM is not for Whisper" in caplog.text


class Payload:
    def __reduce__(self):
        return print, ("executed",)


def test_code_in_a_pickled_adapter_is_not_executed(saved, tmp_path, capsys, whisper):
    (tmp_path / "adapter_config.json").write_bytes((saved[0] / "adapter_config.json").read_bytes())
    torch.save({"weight": Payload()}, tmp_path / "adapter_model.bin")
    with pytest.raises(AdapterError, match="damaged"):
        loaded_state(tmp_path, whisper)
    assert "executed" not in capsys.readouterr().out


def test_an_adapter_for_another_size_is_refused_with_both_shapes(saved):
    base = load_whisper(ModelSection(name="openai/whisper-base", precision="fp32", device="cpu"))
    with pytest.raises(AdapterError, match=r"another size.*\(2, 384\) there and \(2, 512\) in this model"):
        load_adapter(base, saved[0])


def test_what_cannot_fit_is_refused_before_anything_is_attached(saved, tiny_en, tmp_path):
    folder, _ = saved
    wide = rounded(name="openai/whisper-base", language="en")
    for whisper, section, words in [
        (tiny_en, small(targets="attenton"), "did you mean attention"),
        (tiny_en, small(init=tmp_path), r"no adapter_config\.json"),
        (wide, small(init=folder), "another size - .* is 384 wide there and 512 in this model"),
        (rounded(quantize="int8"), small(use_dora=True), "int8"),
        (rounded(quantize="int8"), AdapterSection(method="full"), "full"),
    ]:
        with pytest.raises(AdapterError, match=words):
            check_adapter(whisper, section)
        assert whisper.model is whisper.core


def test_what_fits_passes_the_check_and_changes_nothing(saved, tiny_en):
    folder, _ = saved
    before = tiny_en.model.state_dict().keys()
    for section in (small(), small(init=folder), AdapterSection(method="full")):
        check_adapter(tiny_en, section)
    assert tiny_en.model.state_dict().keys() == before


@pytest.mark.parametrize("damage", ["truncated", "absent", "missing tensor"])
def test_a_damaged_adapter_is_refused_in_words(saved, tmp_path, damage, whisper):
    folder, state = saved
    (tmp_path / "adapter_config.json").write_bytes((folder / "adapter_config.json").read_bytes())
    path = tmp_path / "adapter_model.safetensors"
    if damage == "truncated":
        path.write_bytes((folder / path.name).read_bytes()[:1000])
    elif damage == "missing tensor":
        save_file(dict(list(state.items())[1:]), path)
    words = {
        "truncated": "are damaged",
        "absent": "has no weights",
        "missing tensor": r"1 weights are missing, such as .*q_proj",
    }
    with pytest.raises(AdapterError, match=words[damage]):
        load_adapter(whisper, tmp_path)


@pytest.mark.parametrize("content", ["{", "{}", '{"peft_type": "SORCERY"}'])
def test_a_config_that_peft_does_not_know_is_refused(tmp_path, content, whisper):
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(AdapterError, match="cannot be read"):
        load_adapter(whisper, tmp_path)


def test_init_without_an_adapter_is_refused(tmp_path, whisper):
    with pytest.raises(AdapterError, match=r"adapter\.init is .*no adapter_config\.json"):
        attach_adapter(whisper, AdapterSection(init=tmp_path), seed=0)


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path, whisper):
    attach_adapter(whisper, small(targets=("q_proj",)), seed=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        save_adapter(whisper, tmp_path / "file")


def test_a_model_without_an_adapter_has_none_to_save(tiny_en, tmp_path):
    with pytest.raises(AdapterError, match="has no adapter"):
        save_adapter(tiny_en, tmp_path)
