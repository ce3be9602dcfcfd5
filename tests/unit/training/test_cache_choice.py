"""Whether encoder states are kept: where it pays, said in one line, refused where it cannot."""

from types import SimpleNamespace

import pytest
import torch

from whisper_peft.data.batches.audio_contexts import AudioContexts
from whisper_peft.data.effects.augmentation import build_augmentation
from whisper_peft.data.targets.target_draws import TargetDraws
from whisper_peft.errors import RecipeError
from whisper_peft.model.adapters.attaching import attach_adapter
from whisper_peft.model.loading import load_whisper
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import AdapterSection, ModelSection, Recipe
from whisper_peft.training import cache_choice
from whisper_peft.training.cache_choice import choose_cache, corpus_bytes
from whisper_peft.training.plan import TrainingPlan


def adapted(targets):
    whisper = load_whisper(ModelSection(name="openai/whisper-tiny.en", device="cpu", precision="fp32"))
    attach_adapter(whisper, AdapterSection(r=4, targets=targets), seed=0)
    return whisper


@pytest.fixture(scope="module")
def decoder_only():
    return adapted("decoder-only")


def choose(whisper, rows, folder, change=None, *, world_size=1, **train):
    made = apply_overrides(apply_overrides(Recipe(), {"train": train}), change or {})
    contexts = AudioContexts.of(made.train, seed=0)
    collator = SimpleNamespace(
        contexts=contexts, draws=TargetDraws(), augmentation=build_augmentation(made.augment)
    )
    plan = TrainingPlan(made, rows, collator, whisper.config, world_size)
    return choose_cache(made, whisper, plan, rank=0, world_size=world_size, folder=folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"augment": {"gain": {"p": 0.5}}}, "augment.gain changes"),
        ({"augment": {"spec_augment": {"p": 0.5}}}, "augment.spec_augment changes"),
        ({"augment": {"custom": (lambda waveform, rng: waveform,)}}, "augment.custom changes"),
        ({"train": {"context_padding_s": 1.0}}, "train.context_padding_s draws"),
        ({"train": {"full_context_share": 0.5}}, "train.full_context_share draws"),
        ({"train": {"audio_context": "packed"}}, "packed stitches other windows"),
        ({"targets": {"long_form": 0.5}}, "targets.long_form joins other utterances"),
    ],
)
def test_what_sounds_otherwise_each_epoch_is_not_kept_and_refused_when_asked_for(
    decoder_only, rows, tmp_path, change, reason
):
    choice = choose(decoder_only, rows, tmp_path, change)
    assert choice.cache is None
    assert choice.sentence.startswith("encoder states are not kept for later epochs: ")
    assert reason in choice.sentence
    with pytest.raises(RecipeError, match=f"train.encoder_cache is disk, and .*{reason}"):
        choose(decoder_only, rows, tmp_path, change, encoder_cache="disk")
    off = choose(decoder_only, rows, tmp_path, change, encoder_cache="off")
    assert (off.cache, off.sentence) == (None, None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "train", [{"full_context_share": 1.0}, {"audio_context": "full", "context_padding_s": 1.0}]
)
def test_a_context_that_never_changes_is_kept(decoder_only, rows, tmp_path, train):
    choice = choose(decoder_only, rows, tmp_path, **train)
    assert choice.cache.store.kind == "memory"
    assert choice.sentence.startswith("encoder states are kept for later epochs in memory: 0.01 GiB, all of")


def test_an_encoder_that_learns_is_not_kept_and_nothing_is_said(rows, tmp_path):
    whisper = adapted("attention")
    choice = choose(whisper, rows, tmp_path)
    assert (choice.cache, choice.sentence) == (None, None)
    with pytest.raises(RecipeError, match=r"and the encoder learns .*decoder-only"):
        choose(whisper, rows, tmp_path, encoder_cache="memory")


def test_dropout_in_the_encoder_is_not_kept(decoder_only, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(decoder_only.config, "dropout", 0.1)
    assert choose(decoder_only, rows, tmp_path).cache is None
    with pytest.raises(RecipeError, match="and the encoder has dropout"):
        choose(decoder_only, rows, tmp_path, encoder_cache="memory")


def test_one_epoch_or_a_stream_is_not_kept_unasked(decoder_only, rows, tmp_path):
    assert choose(decoder_only, rows, tmp_path, epochs=1).cache is None
    stream = choose(decoder_only, iter(rows), tmp_path, max_steps=9)
    assert stream.cache is None
    assert "the size of a stream is not known" in stream.sentence
    asked = choose(decoder_only, iter(rows), tmp_path, max_steps=9, encoder_cache="memory")
    assert asked.cache.store.kind == "memory"
    assert asked.sentence.startswith("encoder states are kept in memory, up to ")


def test_unasked_it_takes_half_of_the_free_memory_at_most_over_all_processes(
    decoder_only, rows, tmp_path, monkeypatch
):
    needed = corpus_bytes(rows, AudioContexts.of(Recipe().train, seed=0), 384, torch.float16)
    monkeypatch.setattr(cache_choice, "free_memory_bytes", lambda: 4 * needed)
    kept = choose(decoder_only, rows, tmp_path, world_size=2)
    assert kept.cache.store.budget_bytes == needed
    monkeypatch.setattr(cache_choice, "free_memory_bytes", lambda: 4 * needed - 4)
    refused = choose(decoder_only, rows, tmp_path, world_size=2)
    # the states are rounded all the same: a run may have been started where more was free
    assert refused.cache.store.budget_bytes == 0
    assert "GiB for each process; --train.encoder-cache disk or memory keeps what fits" in refused.sentence
    asked = choose(decoder_only, rows, tmp_path, encoder_cache="memory", world_size=4)
    assert asked.cache.store.budget_bytes == needed // 2 - 1
    assert "GiB, 50% of them within" in asked.sentence


def test_states_on_disk_lie_in_the_run_folder_or_apart_from_other_runs(decoder_only, rows, tmp_path):
    runs = [tmp_path / "a", tmp_path / "b"]
    inside = choose(decoder_only, rows, runs[0], encoder_cache="disk").cache.store
    assert inside.path == runs[0] / "encoder-states" / "process-0.states"
    settings = {"encoder_cache": "disk", "encoder_cache_folder": tmp_path / "fast", "encoder_cache_gib": 1}
    first, second = (choose(decoder_only, rows, run, **settings).cache.store for run in runs)
    assert first.path != second.path
    assert first.path.is_relative_to(tmp_path / "fast")
    assert first.budget_bytes == 2**30
    for store in (inside, first, second):
        store.remove()
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "fast"}


def test_states_on_disk_belong_to_one_encoder_and_context(decoder_only, rows, tmp_path):
    def identity(whisper, **train):
        contexts = AudioContexts.of(apply_overrides(Recipe(), {"train": train}).train, seed=0)
        return cache_choice._identity(whisper, contexts)

    first = identity(decoder_only)
    assert first == identity(decoder_only)
    assert first != identity(decoder_only, audio_context="full")
    weight = decoder_only.core.get_encoder().layers[0].fc1.weight
    with torch.no_grad():
        kept = weight[0, 0].item()
        weight[0, 0] += 1e-3
        other = identity(decoder_only)
        weight[0, 0] = kept
    assert first == identity(decoder_only) != other
    nf4 = load_whisper(ModelSection(name="openai/whisper-tiny.en", device="cpu", quantize="nf4"))
    assert identity(nf4) != first
