"""Gradient stops below the lowest weight that learns, with and without checkpointing."""

import pytest
import torch
from peft import LoraConfig

from whisper_peft.model.adapters.attaching import attach_adapter, enable_gradient_checkpointing
from whisper_peft.model.loading import load_whisper
from whisper_peft.recipe.sections import AdapterSection, ModelSection
from whisper_peft.training.loss import SpeechLoss

UPPER_ENCODER = r"model\.encoder\.layers\.[23]\..*\.(q_proj|v_proj)"


def traced(config, *, checkpointing):
    """Take a step's loss and gradient, and note what each part of the encoder was asked for."""
    whisper = load_whisper(ModelSection(name="openai/whisper-tiny.en", device="cpu", precision="fp32"))
    attach_adapter(whisper, config, seed=0)
    if checkpointing:
        enable_gradient_checkpointing(whisper)
    whisper.model.train()
    encoder, notes = whisper.core.get_encoder(), {}

    def note(name):
        def hook(module, inputs, output):
            state = output[0] if isinstance(output, tuple) else output
            calls, graph, _ = notes.get(name, (0, False, None))
            notes[name] = (calls + 1, graph or state.requires_grad, torch.is_grad_enabled())

        return hook

    parts = {"conv1": encoder.conv1, "conv2": encoder.conv2}
    parts |= {f"layer {number}": layer.fc1 for number, layer in enumerate(encoder.layers)}
    for name, part in parts.items():
        part.register_forward_hook(note(name))
    samples, ids = torch.randn(32_000) * 0.1, torch.arange(8)
    loss = SpeechLoss(whisper)(samples, (32_000,), (200,), (8,), ids, ids, None)
    loss.backward()
    unreached = [n for n, w in whisper.model.named_parameters() if w.requires_grad and w.grad is None]
    assert not unreached
    return notes


@pytest.mark.parametrize("checkpointing", [False, True])
def test_no_gradient_is_computed_below_the_lowest_adapter(checkpointing):
    adapter = AdapterSection(config=LoraConfig(r=4, target_modules=UPPER_ENCODER))
    notes = traced(adapter, checkpointing=checkpointing)
    assert {name for name, (_, graph, _) in notes.items() if graph} == {"layer 2", "layer 3"}
    # what has no gradient is not computed again for one either
    again = {name for name, (calls, _, _) in notes.items() if calls > 1}
    assert again == ({"layer 2", "layer 3"} if checkpointing else set())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_decoder_adapters_build_no_graph_of_the_encoder(checkpointing):
    notes = traced(AdapterSection(r=4, targets="decoder-only"), checkpointing=checkpointing)
    assert len(notes) == 6
    assert set(notes.values()) == {(1, False, False)}
