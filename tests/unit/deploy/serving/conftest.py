"""A server of tiny.en with two adapters, shared by a module's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from openai import OpenAI

from tests.unit.deploy.serving.servers import running
from whisper_peft.deploy.serving.engine import Engine
from whisper_peft.deploy.serving.settings import ServingSettings
from whisper_peft.model.adapters.attaching import adapter_model, attach_adapter, save_adapter
from whisper_peft.model.loading import load_whisper
from whisper_peft.pipeline.hosting import open_engine
from whisper_peft.recipe.sections import AdapterSection, ModelSection


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return two adapters of tiny.en that change what it writes, on other layers and of other ranks."""
    folder = tmp_path_factory.mktemp("adapters")
    for name, r, targets, seed in (("first", 4, "attention", 0), ("second.one", 8, "all-linear", 1)):
        whisper = load_whisper(ModelSection(name="openai/whisper-tiny.en", precision="fp32", device="cpu"))
        attach_adapter(whisper, AdapterSection(r=r, targets=targets), seed=seed)
        generator = torch.Generator().manual_seed(seed)
        for weight_name, weight in adapter_model(whisper).named_parameters():
            if "lora_B" in weight_name and "decoder" in weight_name:
                weight.data = 0.01 * torch.randn(weight.shape, generator=generator)
        save_adapter(whisper, folder / name)
    return {name: folder / name for name in ("first", "second.one")}


@pytest.fixture(scope="session")
def engine(adapters: dict[str, Path]) -> Engine:
    """Return tiny.en with both adapters, served as `first`, `second.one` and `openai/whisper-tiny.en`."""
    first, second = adapters.values()
    model = {"precision": "fp32", "device": "cpu"}
    return open_engine(first, adapters={"second.one": second}, model=model)


@pytest.fixture(scope="session")
def address(engine: Engine) -> Iterator[str]:
    """Return the address of a server with limits of 2 MiB and 60 s."""
    settings = ServingSettings(page=False, max_upload_bytes=2 << 20, max_duration_s=60.0)
    with running(engine, settings) as (address, _):
        yield address


@pytest.fixture
def client(address: str) -> Iterator[OpenAI]:
    """Return the official client."""
    with OpenAI(base_url=f"{address}/v1", api_key="none needed", max_retries=0) as client:
        yield client
