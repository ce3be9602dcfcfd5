"""Runs with every kind of target: counted, and exact when stopped, resumed or loaded by workers."""

import dataclasses

import pytest
import torch
from accelerate import Accelerator

from whisper_peft.data.batches.audio_contexts import AudioContexts
from whisper_peft.data.batches.collation import Collator
from whisper_peft.data.effects.augmentation import build_augmentation
from whisper_peft.data.targets.labels import Labeller
from whisper_peft.data.targets.target_draws import TargetDraws
from whisper_peft.model.adapters.attaching import attach_adapter
from whisper_peft.model.loading import load_whisper
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import Recipe
from whisper_peft.training.checkpoints import list_checkpoints, trainable_weights
from whisper_peft.training.loop import Training

MIXED = {
    "model": {"name": "openai/whisper-tiny.en", "device": "cpu", "precision": "fp32"},
    "adapter": {"r": 4, "targets": "decoder-only"},
    "train": {"max_steps": 6, "batch_size": 3, "learning_rate": 1e-3, "workers": 0, "checkpoint_steps": 2},
    "targets": {"timestamps": 0.5, "previous_text": 0.5, "no_speech": 0.4, "long_form": 0.5},
}


@pytest.fixture(scope="module")
def neighbours(rows):
    """Return the prompts as if they were three chapters, read one after the other."""
    return tuple(
        dataclasses.replace(
            row, id=f"19-{number // 3}-{number:04d}", speaker_id="19", previous_text="Before that."
        )
        for number, row in enumerate(rows)
    )


def training(rows, folder, change=None):
    made = apply_overrides(apply_overrides(Recipe(), MIXED), change or {})
    whisper = load_whisper(made.model)
    attach_adapter(whisper, made.adapter, seed=made.train.seed)
    collator = Collator(
        Labeller(whisper.tokenizer, multilingual=False, language=None, targets=made.targets),
        build_augmentation(made.augment),
        made.augment.spec_augment,
        AudioContexts.of(made.train, seed=made.train.seed),
        num_mel_bins=whisper.num_mel_bins,
        seed=made.train.seed,
        draws=TargetDraws(made.targets, made.train.seed),
    )
    folder.mkdir(parents=True, exist_ok=True)
    return Training(whisper, made, rows, collator, Accelerator(cpu=True), folder)


def weights(run):
    return {name: weight.detach().clone() for name, weight in trainable_weights(run.whisper.model).items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_stopped_run_counts_the_same_windows_and_ends_at_the_same_weights(neighbours, tmp_path):
    whole = training(neighbours, tmp_path / "whole")
    counted = whole.run().targets
    assert set(counted) == {"timestamps", "previous_text", "no_speech", "long_form"}
    config = whole.whisper.generation_config  # who learns to write nothing may write nothing
    assert config.eos_token_id not in config.begin_suppress_tokens
    first = training(neighbours, tmp_path / "parts")
    first.callbacks = (lambda event: event.kind == "step" and event.step == 3,)
    assert first.run().stopped_by == "callback"
    second = training(neighbours, tmp_path / "parts", {"train": {"workers": 1}})
    result = second.run(list_checkpoints(tmp_path / "parts" / "checkpoints")[-1])
    assert result.targets == counted
    assert same(weights(whole), weights(second))


def test_kept_encoder_states_and_new_labels_of_each_epoch_go_together(neighbours, tmp_path):
    found = {}
    for budget_gib in (1.0, 1e-9):
        kept = {"encoder_cache": "memory", "encoder_cache_gib": budget_gib}
        change = {"targets": {"long_form": 0.0}, "train": {"max_steps": 9, **kept}}
        run = training(neighbours, tmp_path / str(budget_gib), change)
        result = run.run()
        found[budget_gib] = (weights(run), result.targets, run.state.cache_hits)
    assert found[1.0][2] > 0 == found[1e-9][2]
    assert found[1.0][1] == found[1e-9][1]
    assert found[1.0][1].keys() == {"timestamps", "previous_text", "no_speech"}
    assert same(found[1.0][0], found[1e-9][0])
