"""What is told to be kept for the backward pass is what autograd keeps."""

import pytest
import torch

from whisper_peft.model.adapters.attaching import attach_adapter, enable_gradient_checkpointing
from whisper_peft.model.blueprint import blueprint
from whisper_peft.model.loading import load_whisper
from whisper_peft.recipe.sections import AdapterSection, ModelSection, Recipe, TrainSection
from whisper_peft.training.loss import SpeechLoss
from whisper_peft.training.planning.memory_model import encoder_learns, kept_for_backward
from whisper_peft.training.planning.workload import Arithmetic, Load

FRAMES, TOKENS, CLIPS = 420, 30, 3

CASES = {
    "fp32": ({}, {}, {}),
    "bf16": ({"precision": "bf16"}, {}, {}),
    "int8": ({"quantize": "int8"}, {}, {}),
    "nf4": ({"quantize": "nf4"}, {}, {}),
    "attention": ({}, {"targets": "q_proj,v_proj"}, {}),
    "decoder-only": ({}, {"targets": "decoder-only"}, {}),
    "checkpointed": ({}, {}, {"gradient_checkpointing": True}),
    "full": ({}, {"method": "full"}, {}),
}


def kept_by_autograd(whisper):
    """Return the bytes that one forward pass saves, weights left out."""
    loss, seen = SpeechLoss(whisper), {}
    own = {
        one.untyped_storage().data_ptr() for one in (*whisper.model.parameters(), *whisper.model.buffers())
    }

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    tokens = torch.randint(100, 1000, (CLIPS * TOKENS,))
    samples = torch.randn(CLIPS * FRAMES * 160) * 0.1
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        counts = (FRAMES * 160,) * CLIPS, (FRAMES,) * CLIPS, (TOKENS,) * CLIPS
        loss(samples, *counts, tokens, tokens.clone(), None)
    return sum(size for size, _ in seen.values())


@pytest.mark.parametrize("case", CASES)
def test_a_step_keeps_what_was_told(case):
    model, adapter, train = CASES[case]
    section = AdapterSection(r=32, **adapter)
    whisper = load_whisper(ModelSection(name="tiny.en", **model))
    attach_adapter(whisper, section, seed=0)
    if train:
        enable_gradient_checkpointing(whisper)
    whisper.model.train()
    recipe = Recipe(model=ModelSection(**model), adapter=section, train=TrainSection(**train))
    arithmetic = Arithmetic.of(recipe, whisper.precision, torch.device("cpu"))
    load = Load((FRAMES // 2,) * CLIPS, (TOKENS,) * CLIPS)
    told = kept_for_backward(blueprint(whisper.config, section), load, arithmetic).total
    vocabulary = CLIPS * TOKENS * whisper.config.vocab_size * 4  # counted apart, with the logits
    kept = kept_by_autograd(whisper) - (vocabulary if case == "full" else 0)
    assert told == pytest.approx(kept, rel=0.04)


def test_the_backward_pass_stays_out_of_an_encoder_that_does_not_learn():
    config = load_whisper(ModelSection(name="tiny.en")).config
    assert encoder_learns(blueprint(config, AdapterSection()))
    assert not encoder_learns(blueprint(config, AdapterSection(targets="decoder-only")))
