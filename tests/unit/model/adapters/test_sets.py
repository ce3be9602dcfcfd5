from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import IA3Config

from whisper_peft.errors import AdapterError
from whisper_peft.model.adapters.attaching import adapter_model, attach_adapter, save_adapter
from whisper_peft.model.adapters.sets import add_adapter, at_work
from whisper_peft.model.loading import Whisper, load_run_or_model, load_whisper
from whisper_peft.recipe.sections import AdapterSection, ModelSection

SECTION = ModelSection(name="openai/whisper-tiny.en", precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return adapters of other ranks, targets and scales, and one of another method."""
    folder = tmp_path_factory.mktemp("adapters")
    sections = {
        "narrow": AdapterSection(r=2, targets="attention"),
        "wide": AdapterSection(r=8, targets="all-linear", lora_alpha=64),
        "ia3": AdapterSection(
            config=IA3Config(target_modules=["q_proj", "fc2"], feedforward_modules=["fc2"])
        ),
    }
    for seed, (name, section) in enumerate(sections.items()):
        whisper = load_whisper(SECTION)
        attach_adapter(whisper, section, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        for weight in adapter_model(whisper).parameters():
            if weight.requires_grad:
                weight.data += 0.02 * torch.randn(weight.shape, generator=generator)
        save_adapter(whisper, folder / name)
    return {name: folder / name for name in sections}


@torch.no_grad()
def logits(whisper: Whisper) -> torch.Tensor:
    features = torch.randn(1, 80, 200, generator=torch.Generator().manual_seed(7))
    output = whisper.core(input_features=features, decoder_input_ids=torch.tensor([[50257, 50362, 314]]))
    return output.logits


def test_each_adapter_says_what_it_says_alone_and_the_base_what_it_said(folders: dict[str, Path]) -> None:
    base = logits(load_whisper(SECTION))
    alone = {name: logits(load_run_or_model(str(folders[name]), SECTION)) for name in ("narrow", "wide")}
    whisper = load_whisper(SECTION)
    names = {name: add_adapter(whisper, folders[name]) for name in ("narrow", "wide")}
    for _ in range(2):
        for name in ("wide", "narrow"):
            with at_work(whisper, names[name]):
                assert torch.allclose(logits(whisper), alone[name], atol=2e-4)
            with at_work(whisper, None):
                assert torch.equal(logits(whisper), base)
    assert not torch.allclose(alone["wide"], alone["narrow"], atol=0.1)


def test_the_weights_are_the_same_bits_after_a_hundred_changes(folders: dict[str, Path]) -> None:
    whisper = load_whisper(SECTION)
    names = [add_adapter(whisper, folders[name]) for name in ("narrow", "wide")]
    before = {name: weight.clone() for name, weight in whisper.model.named_parameters()}
    for turn in range(100):
        with at_work(whisper, names[turn % 2]):
            pass
    assert all(torch.equal(weight, before[name]) for name, weight in whisper.model.named_parameters())


def test_an_adapter_of_another_method_is_refused(folders: dict[str, Path]) -> None:
    whisper = load_whisper(SECTION)
    add_adapter(whisper, folders["narrow"])
    with pytest.raises(AdapterError, match="cannot share its base"):
        add_adapter(whisper, folders["ia3"])


def test_an_adapter_of_another_base_is_refused(folders: dict[str, Path]) -> None:
    whisper = load_whisper(SECTION.model_copy(update={"name": "openai/whisper-base"}))
    with pytest.raises(AdapterError, match=r"was trained on openai/whisper-tiny\.en"):
        add_adapter(whisper, folders["narrow"])
