"""AdaLoRA: the ranks fall over the run's own length, resume exactly, and are saved as they are."""

import peft
import pytest
import torch
from accelerate import Accelerator

from whisper_peft.data.batches.audio_contexts import AudioContexts
from whisper_peft.data.batches.collation import Collator
from whisper_peft.data.effects.augmentation import build_augmentation
from whisper_peft.data.targets.labels import Labeller
from whisper_peft.errors import RecipeError
from whisper_peft.model.adapters.attaching import attach_adapter, load_adapter, save_adapter
from whisper_peft.model.loading import load_whisper
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import Recipe
from whisper_peft.training.checkpoints import list_checkpoints, trainable_weights
from whisper_peft.training.loop import Training

ADALORA = peft.AdaLoraConfig(
    init_r=4, target_r=2, total_step=99, tinit=1, tfinal=2, deltaT=2, target_modules=["q_proj", "v_proj"]
)


def training(rows, folder, **train):
    made = apply_overrides(
        Recipe(),
        {
            "model": {"name": "openai/whisper-tiny.en", "device": "cpu"},
            "adapter": {"config": ADALORA},
            "train": {"max_steps": 7, "batch_size": 2, "learning_rate": 1e-3, "workers": 0, **train},
        },
    )
    whisper = load_whisper(made.model)
    attach_adapter(whisper, made.adapter, seed=0)
    labeller = Labeller(whisper.tokenizer, multilingual=False, language=None)
    augmentation, masks = build_augmentation(made.augment), made.augment.spec_augment
    contexts = AudioContexts.of(made.train, seed=0)
    collator = Collator(labeller, augmentation, masks, contexts, num_mel_bins=80, seed=0)
    return Training(whisper, made, rows, collator, Accelerator(cpu=True), folder)


def stop_at(step):
    return (lambda event: event.kind == "step" and event.step == step,)


def ranks(whisper):
    named = whisper.model.named_parameters()
    return [int((weight != 0).sum()) for name, weight in named if "lora_E" in name]


@pytest.fixture(scope="module")
def whole(rows, tmp_path_factory):
    run = training(rows, tmp_path_factory.mktemp("whole"))
    run.run()
    return run


def test_the_ranks_fall_to_the_target(whole):
    found = ranks(whole.whisper)
    assert sum(found) == 2 * len(found)
    assert len(set(found)) > 1


@pytest.mark.parametrize("step", [3, 6])
def test_a_stopped_run_ends_at_the_same_weights_and_ranks(rows, tmp_path, whole, step):
    first = training(rows, tmp_path)
    first.callbacks = stop_at(step)
    first.run()
    second = training(rows, tmp_path)
    second.run(list_checkpoints(tmp_path / "checkpoints")[-1])
    expected, found = (trainable_weights(run.whisper.model) for run in (whole, second))
    assert all(torch.equal(expected[name], weight) for name, weight in found.items())


@pytest.mark.parametrize("step", [1, 3, 7])
def test_the_saved_adapter_is_the_one_in_memory_wherever_the_run_stopped(rows, tmp_path, step):
    run = training(rows, tmp_path)
    run.callbacks = stop_at(step)
    run.run()
    save_adapter(run.whisper, tmp_path / "adapter")
    loaded = load_whisper(run.recipe.model)
    load_adapter(loaded, tmp_path / "adapter")
    sound = torch.randn(1, 80, 200, generator=torch.Generator().manual_seed(0))
    start = torch.tensor([[50257, 50362, 383]])
    with torch.no_grad():
        expected, found = (
            whisper.core.eval()(input_features=sound, decoder_input_ids=start).logits
            for whisper in (run.whisper, loaded)
        )
    assert torch.allclose(expected, found, atol=1e-4)


def test_a_run_too_short_for_the_ranks_to_fall_is_refused(rows, tmp_path):
    with pytest.raises(RecipeError, match=r"tinit 1 and tfinal 2.*a run of 3.*lower both"):
        training(rows, tmp_path, max_steps=3)
