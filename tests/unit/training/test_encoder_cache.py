"""Kept encoder states: found by content, exact over epochs, resumes and stores, and worth their name."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training.runs import make_recipe, make_training, weights
from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.batches.batching import MicroBatch, Recording
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.training import loss
from whisper_peft.training.cache_choice import corpus_bytes
from whisper_peft.training.checkpoints import list_checkpoints
from whisper_peft.training.encoder_cache import EncoderCache, stored_dtype
from whisper_peft.training.logs import JsonLog
from whisper_peft.training.state_stores import MemoryStore
from whisper_peft.types import Utterance

SETTINGS = {
    "model": {"precision": "fp32"},
    "adapter": {"targets": "decoder-only"},
    "augment": {"gain": {"p": 0.0}, "spec_augment": {"p": 0.0}},
    "train": {"max_steps": None, "epochs": 3, "batch_size": 3},
}


def recipe(**train):
    return apply_overrides(apply_overrides(make_recipe(), SETTINGS), {"train": train})


def training(rows, folder, made=None, **parts):
    folder.mkdir(parents=True, exist_ok=True)
    return make_training(rows, folder, made or recipe(), callbacks=(JsonLog(folder),), **parts)


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses(folder):
    return [row["loss"] for row in log(folder)]


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def whole(rows, tmp_path_factory):
    """Return a run of three epochs in memory, its result and folder."""
    folder = tmp_path_factory.mktemp("whole")
    run = training(rows, folder)
    return run, run.run(), folder


def test_epochs_after_the_first_encode_nothing(whole):
    _, result, folder = whole
    assert result.steps == 9
    assert [row["encoder_cache_hit_share"] for row in log(folder)] == [0.0] * 3 + [1.0] * 6
    use = result.encoder_cache
    assert (use.kind, use.hits, use.misses) == ("memory", 18, 9)
    assert use.hit_share == pytest.approx(2 / 3)


def test_a_step_on_known_recordings_neither_decodes_nor_encodes_nor_carries_samples(
    rows, tmp_path, monkeypatch
):
    run = training(rows, tmp_path, recipe(max_steps=6))
    batches = []
    inner = run.gradients._loss

    def watched(batch):
        batches.append(batch)
        return inner(batch)

    run.gradients._loss = watched
    decoded, encoded, seconds = [], [], []
    monkeypatch.setattr(
        "whisper_peft.data.batches.collation.decode",
        counting(decoded, "whisper_peft.data.batches.collation", "decode"),
    )
    mel = run.loss.log_mel.forward
    monkeypatch.setattr(run.loss.log_mel, "forward", lambda *a, **k: encoded.append(1) or mel(*a, **k))
    run.callbacks = (lambda event: event.kind == "step" and seconds.append(event.row["audio_seconds"]),)
    run.run()
    assert len(decoded) == len(encoded) == len(rows)
    assert [len(batch.samples) > 0 for batch in batches] == [True] * 3 + [False] * 3
    assert sum(seconds[:3]) == pytest.approx(sum(seconds[3:]))


def counting(calls, module, name):
    original = getattr(__import__(module, fromlist=[name]), name)

    def counted(*arguments):
        calls.append(arguments)
        return original(*arguments)

    return counted


def test_workers_get_known_windows_without_their_audio(rows):
    cache = EncoderCache(MemoryStore(2**30), torch.float16)
    in_memory = dataclasses.replace(rows[1], audio=rows[1].audio.read_bytes())
    micro_batch = MicroBatch(0, 0, ((rows[0],), (in_memory,)))
    first = cache.mark(micro_batch)
    assert not any(recording.is_known for recording in first.recordings)
    assert first.windows == micro_batch.windows
    known = Recording(first.recordings[1].digest, samples=800, frames=100)
    cache.store.keep(known, torch.zeros(50, 4, dtype=torch.float16))
    second = cache.mark(micro_batch)
    assert second.recordings == (first.recordings[0], known)
    assert [window[0].audio for window in second.windows] == [rows[0].audio, b""]


def test_recordings_are_known_by_content_whatever_their_id_or_path(rows, tmp_path):
    mark = EncoderCache(MemoryStore(0), torch.float16).mark

    def digests(*utterances):
        return [r.digest for r in mark(MicroBatch(0, 0, tuple((row,) for row in utterances))).recordings]

    copy = tmp_path / "copy.flac"
    shutil.copyfile(rows[0].audio, copy)
    named_otherwise = dataclasses.replace(rows[0], id="other", audio=copy)
    bytes_of_it = dataclasses.replace(rows[0], audio=copy.read_bytes())
    first, second, third, other = digests(rows[0], named_otherwise, bytes_of_it, rows[1])
    assert first == second == third != other
    copy.write_bytes(rows[1].audio.read_bytes())
    assert digests(named_otherwise) == [other]
    tone = dataclasses.replace(rows[0], audio=np.ones(1600, np.float32), sampling_rate=16_000)
    slower = dataclasses.replace(tone, sampling_rate=8_000)
    assert len({*digests(tone, slower)}) == 2
    assert digests(dataclasses.replace(rows[0], audio=tmp_path / "none.flac")) == [b""]


@pytest.mark.parametrize(
    ("precision", "rounding"), [("fp32", 2**-11), pytest.param("bf16", 0.0, marks=pytest.mark.slow)]
)
def test_the_cache_changes_the_losses_by_no_more_than_fp16_rounds(long_rows, tmp_path, precision, rounding):
    made = recipe(epochs=2, learning_rate=1e-12)
    found = {}
    for kind in ("auto", "off"):
        settings = {"model": {"precision": precision}, "train": {"encoder_cache": kind}}
        training(long_rows, tmp_path / kind, apply_overrides(made, settings)).run()
        found[kind] = losses(tmp_path / kind)
    assert found["auto"] == pytest.approx(found["off"], rel=rounding, abs=0)
    assert (found["auto"] == found["off"]) == (precision == "bf16")


@pytest.mark.parametrize("settings", [{"encoder_cache_gib": 1e-4}, {"workers": 2}])
def test_it_makes_no_difference_where_or_how_much_is_kept(whole, rows, tmp_path, settings):
    run = training(rows, tmp_path, recipe(**settings))
    result = run.run()
    assert losses(tmp_path) == losses(whole[2])
    assert same(weights(run), weights(whole[0]))
    if "encoder_cache_gib" in settings:
        assert result.encoder_cache is None
        assert "not kept" in run.cache_sentence
    else:
        assert result.encoder_cache.hits == 18


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_run_killed_in_its_second_epoch_ends_at_the_same_weights_to_the_bit(whole, rows, tmp_path, kind):
    def kill(event):
        if event.kind == "step" and event.step == 5:
            raise KeyboardInterrupt

    made = recipe(encoder_cache=kind)
    run = training(rows, tmp_path, made)
    run.callbacks = (*run.callbacks, kill)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    (kept,) = [*(tmp_path / "encoder-states").iterdir()] if kind == "disk" else [None]
    second = training(rows, tmp_path, made)
    result = second.run(list_checkpoints(tmp_path / "checkpoints")[-1])
    assert same(weights(second), weights(whole[0]))
    assert losses(tmp_path) == losses(whole[2])
    shares = [row["encoder_cache_hit_share"] for row in log(tmp_path)]
    assert (shares[4] == 0) == (kind == "memory")
    assert result.encoder_cache.hits + result.encoder_cache.misses == 27
    assert kept is None or not kept.parent.exists()


def test_a_fixed_part_is_found_in_every_epoch_when_not_all_fits(rows, tmp_path):
    whole_bytes = sum(50 * -(-row.duration_s // 1) for row in rows) * 384 * 2
    budget = 0.5 * whole_bytes
    run = training(rows, tmp_path, recipe(encoder_cache="memory", encoder_cache_gib=budget / 2**30))
    use = run.run().encoder_cache
    shares = [row["encoder_cache_hit_share"] for row in log(tmp_path)]
    second, third = sum(shares[3:6]), sum(shares[6:])
    assert 0 < use.bytes <= budget
    assert 0.3 < second / 3 < 0.7
    assert third == pytest.approx(second)
    assert "% of them within" in run.cache_sentence
    everything = training(rows, tmp_path / "all", recipe(max_steps=4)).run().encoder_cache.bytes
    assert everything == pytest.approx(corpus_bytes(rows, run.collator.contexts, 384), rel=0.01)


def test_a_state_is_the_same_whatever_is_encoded_beside_it(tiny_en, rows, monkeypatch):
    seen = []
    encoder = type(tiny_en.core.get_encoder())
    original = encoder.encode_segments
    monkeypatch.setattr(
        encoder, "encode_segments", lambda self, clips: seen.append(len(clips)) or original(self, clips)
    )
    module = loss.SpeechLoss(tiny_en, EncoderCache(MemoryStore(2**30), torch.float16))
    waveforms = [torch.randn(count) for count in (16_000, 24_000, 20_480)]
    recordings = tuple(Recording(bytes([number]) * 16) for number in range(3))
    frames = (100, 150, 128)
    module._kept_states(module.cache, waveforms, frames, recordings)
    known = (recordings[1], recordings[0])
    again = module._kept_states(module.cache, [torch.zeros(0)] * 2, (150, 100), known)
    empty = EncoderCache(MemoryStore(0), torch.float16)
    alone = module._kept_states(empty, waveforms[:1], (100,), recordings[:1])
    assert seen == [1, 1, 1, 1]
    assert torch.equal(again[:, 75:], alone)


@pytest.mark.parametrize("name", ["tiny_en", "base"])
def test_states_of_real_speech_are_far_from_overflowing_fp16(name, request, prompts_en, prompts_fr):
    whisper = request.getfixturevalue(name)
    rows = (prompts_en if name == "tiny_en" else prompts_fr)[:6]
    module = loss.SpeechLoss(whisper)
    for row in rows:
        heard = decode(Utterance("a", Path(row["file_name"]), "text")).waveform
        with torch.no_grad():
            states = module._encode_alone(torch.from_numpy(heard), 2 * -(-len(heard) // 320))
        fp16, bf16 = (
            float((states.to(dtype).float() - states).abs().max())
            for dtype in (torch.float16, torch.bfloat16)
        )
        assert states.abs().max() < 100
        assert fp16 < 0.01
        assert bf16 > 4 * fp16
        assert stored_dtype(torch.float32) is torch.float16


def test_a_row_that_cannot_be_decoded_is_counted_as_without_a_cache(rows, tmp_path):
    bad = tmp_path / "bad.flac"
    bad.write_bytes(b"fLaC" + bytes(60))
    several = (*rows[:3], dataclasses.replace(rows[0], id="bad", audio=bad))
    results = [
        training(several, tmp_path / kind, recipe(batch_size=2, encoder_cache=kind)).run()
        for kind in ("memory", "off")
    ]
    assert results[0].skipped == results[1].skipped == {"unreadable": 1}
    assert results[0].audio_seconds == pytest.approx(results[1].audio_seconds)
