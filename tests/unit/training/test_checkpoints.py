"""Checkpoints: whole or not at all, verified, rotated, exact."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from whisper_peft.errors import ResumeError, StorageError
from whisper_peft.training import checkpoints
from whisper_peft.training.checkpoints import (
    RunState,
    list_checkpoints,
    read_checkpoint,
    restore_weights,
    save_checkpoint,
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    return model


def save(folder, model, step=1, keep=2, **state):
    optimizer = torch.optim.AdamW(model[1].parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    return save_checkpoint(
        folder,
        state=RunState(step=step, **state),
        model=model,
        optimizer_state={"optimizer": optimizer.state_dict()},
        keep=keep,
    )


def test_what_is_read_is_what_was_written(tmp_path, model):
    path = save(tmp_path, model, step=7, epoch=1, step_in_epoch=3, skipped={"empty": 2}, first_loss=math.pi)
    state, weights, optimizer_state = read_checkpoint(path)
    assert state == RunState(
        step=7, epoch=1, step_in_epoch=3, skipped={"empty": 2}, first_loss=math.pi, last_loss=state.last_loss
    )
    assert weights.keys() == {"1.weight", "1.bias"}
    assert torch.equal(weights["1.weight"], model[1].weight)
    assert optimizer_state["optimizer"]["state"][0]["exp_avg"].shape == (2, 4)


def test_restored_weights_are_equal_to_the_bit(tmp_path, model):
    path = save(tmp_path, model)
    expected = model[1].weight.detach().clone()
    with torch.no_grad():
        model[1].weight.add_(1)
    restore_weights(model, read_checkpoint(path)[1])
    assert torch.equal(model[1].weight, expected)


def test_only_the_newest_stay(tmp_path, model):
    for step in (1, 2, 10):
        save(tmp_path, model, step=step)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000002", "step-000010"]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [checkpoints.TRAINABLE, checkpoints.OPTIMIZER, checkpoints.STATE])
def test_one_flipped_bit_is_refused(tmp_path, model, name):
    path = save(tmp_path, model)
    flip(path / name)
    with pytest.raises(ResumeError, match=rf"damaged.*{name}"):
        read_checkpoint(path)


def test_a_crash_while_writing_leaves_the_last_good_one(tmp_path, model, monkeypatch):
    save(tmp_path, model, step=1)
    monkeypatch.setattr(checkpoints, "file_digest", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, model, step=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000001"]


def test_a_full_disk_is_one_clear_error(tmp_path, model, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(StorageError, match="cannot be written - No space left on device - free some space"):
        save(tmp_path, model)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_adapter_are_refused(tmp_path, model):
    weights = read_checkpoint(save(tmp_path, model))[1]
    other = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    with pytest.raises(ResumeError, match="does not fit"):
        restore_weights(other, weights)


@pytest.mark.parametrize("limit", [1_000, 70_000])
def test_a_full_disk_is_said_and_leaves_the_last_checkpoint(tmp_path, limit):
    script = f"""
import resource, signal, sys, torch
from pathlib import Path
from whisper_peft.errors import StorageError
from whisper_peft.training.checkpoints import RunState, list_checkpoints, save_checkpoint
model, states = torch.nn.Linear(100, 100), {{"optimizer": {{"moments": torch.zeros(100, 100, 2)}}}}
folder = Path({str(tmp_path)!r})
save_checkpoint(folder, state=RunState(step=1), model=model, optimizer_state=states, keep=1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    save_checkpoint(folder, state=RunState(step=2), model=model, optimizer_state=states, keep=1)
except StorageError as error:
    print(error, [path.name for path in folder.iterdir()])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "cannot be written" in done.stdout, done.stderr
    assert "['step-000001']" in done.stdout


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path):
    for step in (999_999, 1_000_000):
        state, model = RunState(step=step), torch.nn.Linear(1, 1)
        save_checkpoint(tmp_path, state=state, model=model, optimizer_state={}, keep=5)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-999999", "step-1000000"]


def test_a_step_that_is_saved_again_replaces_the_first_only_when_it_is_whole(tmp_path, model, monkeypatch):
    first = save(tmp_path, model, step=3, evaluation_abandoned=True)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "file_digest", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, model, step=3)
    assert list_checkpoints(tmp_path) == [first]
    (second,) = [save(tmp_path, model, step=3)]
    assert list_checkpoints(tmp_path) == [second]
    assert [path.name for path in tmp_path.iterdir()] == [second.name] == ["step-000003-2"]
    assert not read_checkpoint(second)[0].evaluation_abandoned


def test_checkpoints_of_steps_that_were_taken_back_go(tmp_path, model):
    for step in (2, 4, 6):
        save(tmp_path, model, step=step, keep=3)
    save(tmp_path, model, step=3, keep=3)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000002", "step-000003"]


@pytest.mark.parametrize("wrong", ["{", "[]", "{}", '{"optimizer.pt": 1}'])
def test_a_manifest_of_another_layout_is_refused(tmp_path, model, wrong):
    path = save(tmp_path, model)
    (path / checkpoints.MANIFEST).write_text(wrong)
    with pytest.raises(ResumeError, match="cannot be read"):
        read_checkpoint(path)


def test_a_drive_that_cannot_sync_folders_does_not_matter(tmp_path, model, monkeypatch):
    real = checkpoints._sync

    def refuse_folders(path):
        if path.is_dir():
            raise OSError(22, "Invalid argument")
        real(path)

    monkeypatch.setattr(checkpoints, "_sync", refuse_folders)
    assert read_checkpoint(save(tmp_path, model, step=5))[0].step == 5
