"""Stores of encoder states: what is read is what was kept, within the budget, whatever tears the file."""

import logging
import os

import pytest
import torch

from whisper_peft.data.batches.batching import Recording
from whisper_peft.errors import StorageError
from whisper_peft.training.state_stores import DiskStore, MemoryStore

WIDTH = 8
IDENTITY = bytes(32)


def disk(folder, budget=10**6, identity=IDENTITY, dtype=torch.float16):
    path = folder / "states" / "process-0.states"
    return DiskStore(path, budget_bytes=budget, identity=identity, dtype=dtype, width=WIDTH)


def memory(folder, budget=10**6):
    return MemoryStore(budget)


def sample(number, positions=50, dtype=torch.float16):
    states = torch.randn(positions, WIDTH, generator=torch.Generator().manual_seed(number)).to(dtype)
    return Recording(bytes([number]) * 16, samples=positions * 320, frames=2 * positions), states


def fill(store, count):
    samples = [sample(number, 50 + number) for number in range(count)]
    for recording, states in samples:
        store.keep(recording, states)
    return samples


@pytest.mark.parametrize("make", [memory, disk])
def test_what_is_read_is_what_was_kept(make, tmp_path):
    store = make(tmp_path)
    for recording, states in fill(store, 4):
        assert store.find(recording.digest) == recording
        assert torch.equal(store.read(recording.digest), states)
    assert store.find(bytes(15) + b"x") is None
    recording, states = sample(1, 51)
    before = store.used_bytes
    store.keep(recording, torch.zeros_like(states))
    assert store.used_bytes == before
    assert torch.equal(store.read(recording.digest), states)


def test_bf16_states_are_read_as_they_were_kept(tmp_path):
    store = disk(tmp_path, dtype=torch.bfloat16)
    recording, states = sample(0, dtype=torch.bfloat16)
    store.keep(recording, states)
    assert torch.equal(store.read(recording.digest), states)


@pytest.mark.parametrize("make", [memory, disk])
def test_the_budget_is_never_passed_and_what_was_kept_first_stays(make, tmp_path):
    store = make(tmp_path, budget=3000)
    samples = fill(store, 6)
    assert store.used_bytes <= 3000
    kept = [store.find(recording.digest) is not None for recording, _ in samples]
    assert kept == [True] * sum(kept) + [False] * (6 - sum(kept))
    assert sum(kept) == 3
    if make is disk:
        assert store.path.stat().st_size == store.used_bytes


def test_a_view_of_a_large_tensor_does_not_keep_it_in_memory():
    store = MemoryStore(10**6)
    recording, _ = sample(0)
    store.keep(recording, torch.zeros(5000, WIDTH, dtype=torch.float16)[:50])
    assert store.read(recording.digest).untyped_storage().nbytes() == 50 * WIDTH * 2


def test_a_killed_runs_file_is_taken_up(tmp_path):
    samples = fill(disk(tmp_path), 4)
    store = disk(tmp_path)
    for recording, states in samples:
        assert store.find(recording.digest) == recording
        assert torch.equal(store.read(recording.digest), states)
    more, states = sample(9)
    store.keep(more, states)
    assert torch.equal(disk(tmp_path).read(more.digest), states)


@pytest.mark.parametrize("kept_bytes", [1, 27, 28, 29, 500, -1])
def test_an_entry_that_was_torn_is_a_miss_and_not_a_wrong_state(tmp_path, kept_bytes):
    first = disk(tmp_path)
    samples = fill(first, 2)
    start = first.used_bytes
    recording, states = sample(7)
    first.keep(recording, states)
    end = start + kept_bytes if kept_bytes > 0 else first.used_bytes - 1
    os.truncate(first.path, end)
    store = disk(tmp_path)
    assert store.find(recording.digest) is None
    assert store.used_bytes == store.path.stat().st_size == start
    assert all(torch.equal(store.read(one.digest), its) for one, its in samples)
    store.keep(recording, states)
    assert torch.equal(disk(tmp_path).read(recording.digest), states)


@pytest.mark.parametrize("place", [0, 16, 20, 24, 28, 400])
def test_a_flipped_bit_is_a_miss_for_the_next_run_and_stops_this_one(tmp_path, place):
    store = disk(tmp_path)
    fill(store, 1)
    start = store.used_bytes
    recording, states = sample(7)
    store.keep(recording, states)
    content = bytearray(store.path.read_bytes())
    content[start + place] ^= 0x80
    store.path.write_bytes(content)
    if place >= 28:
        with pytest.raises(StorageError, match=r"is damaged - the checksum .*--resume"):
            store.read(recording.digest)
    taken_up = disk(tmp_path)
    assert taken_up.find(recording.digest) is None
    assert taken_up.used_bytes == start


def test_a_file_of_another_encoder_is_started_anew(tmp_path):
    samples = fill(disk(tmp_path), 2)
    store = disk(tmp_path, identity=b"o" * 32)
    assert all(store.find(recording.digest) is None for recording, _ in samples)
    (tmp_path / "states" / "process-0.states").write_bytes(b"something else")
    assert disk(tmp_path).find(samples[0][0].digest) is None


def test_a_full_disk_ends_the_growth_with_one_sentence(tmp_path, monkeypatch, caplog):
    store = disk(tmp_path)
    samples = fill(store, 2)
    size, write = store.used_bytes, os.pwrite

    def half(descriptor, content, offset):
        if offset > size:
            raise OSError(28, "No space left on device")
        return write(descriptor, bytes(content)[:100], offset)

    monkeypatch.setattr(os, "pwrite", half)
    with caplog.at_level(logging.WARNING):
        for number in (7, 8):
            store.keep(*sample(number))
    (told,) = caplog.messages
    assert "No space left on device" in told
    assert store.find(sample(7)[0].digest) is None
    assert store.used_bytes == store.path.stat().st_size == size
    assert all(torch.equal(store.read(recording.digest), states) for recording, states in samples)


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "states").write_text("")
    with pytest.raises(StorageError, match=r"cannot be kept in .*--train\.encoder-cache-folder"):
        disk(tmp_path)


def test_nothing_is_left_when_it_is_removed(tmp_path):
    store = disk(tmp_path)
    fill(store, 1)
    store.remove()
    assert not list(tmp_path.iterdir())
