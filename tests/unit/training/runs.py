"""Runs of the loop on a few rows, as the tests of training make them."""

from accelerate import Accelerator

from whisper_peft.data.batches.audio_contexts import AudioContexts
from whisper_peft.data.batches.collation import Collator
from whisper_peft.data.effects.augmentation import build_augmentation
from whisper_peft.data.targets.labels import Labeller
from whisper_peft.model.adapters.attaching import attach_adapter
from whisper_peft.model.loading import load_whisper
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import Recipe
from whisper_peft.training.checkpoints import trainable_weights
from whisper_peft.training.loop import Training

BASE = {
    "model": {"name": "openai/whisper-tiny.en", "device": "cpu"},
    "adapter": {"r": 4, "targets": "attention"},
    "train": {"max_steps": 4, "batch_size": 2, "learning_rate": 1e-3, "workers": 0, "checkpoint_steps": 2},
    "augment": {"gain": {"p": 0.5}, "spec_augment": {"p": 0.5}},
}


def make_recipe(**train):
    return apply_overrides(apply_overrides(Recipe(), BASE), {"train": train})


def make_training(rows, folder, made=None, **parts):
    made = made or make_recipe()
    whisper = load_whisper(made.model)
    attach_adapter(whisper, made.adapter, seed=made.train.seed)
    collator = Collator(
        Labeller(whisper.tokenizer, multilingual=False, language=None),
        build_augmentation(made.augment),
        made.augment.spec_augment,
        AudioContexts.of(made.train, seed=made.train.seed),
        num_mel_bins=whisper.num_mel_bins,
        seed=made.train.seed,
    )
    return Training(whisper, made, rows, collator, Accelerator(cpu=True), folder, **parts)


def weights(run):
    return {name: weight.detach().clone() for name, weight in trainable_weights(run.whisper.model).items()}
