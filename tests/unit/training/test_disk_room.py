"""A disk that is too small is told before anything is written by half."""

from collections import namedtuple

import pytest
import torch
from torch import nn

from whisper_peft.errors import StorageError
from whisper_peft.training import disk_room
from whisper_peft.training.checkpoints import RunState, list_checkpoints, save_checkpoint
from whisper_peft.training.disk_room import planned_bytes

Usage = namedtuple("Usage", "free")


def save(folder, step):
    states = {"optimizer": {"state": {0: {"exp_avg": torch.zeros(1000, 1000)}}}}
    return save_checkpoint(
        folder, state=RunState(step=step), model=nn.Linear(2, 2), optimizer_state=states, keep=1
    )


def test_a_checkpoint_that_does_not_fit_is_not_begun_and_the_last_one_stays(tmp_path, monkeypatch):
    first = save(tmp_path, 1)
    monkeypatch.setattr(disk_room.shutil, "disk_usage", lambda place: Usage(4 * 2**20))
    with pytest.raises(StorageError, match=r"step 2 in .* takes 4.8 MiB, the disk has 4.0 MiB free"):
        save(tmp_path, 2)
    assert list_checkpoints(tmp_path) == [first]
    assert list(tmp_path.iterdir()) == [first]
    monkeypatch.setattr(disk_room.shutil, "disk_usage", lambda place: Usage(5 * 2**20))
    save(tmp_path, 2)


def test_what_is_planned_is_what_is_written(tmp_path, rows, training, recipe):
    made = recipe(max_steps=3, checkpoint_steps=1, keep_checkpoints=1)
    run, sizes = training(rows, tmp_path, made), []
    weights = [weight for weight in run.whisper.model.parameters() if weight.requires_grad]
    run.callbacks = (
        lambda event: event.kind == "checkpoint" and sizes.append(size(tmp_path / "checkpoints")),
    )
    run.run()
    planned = planned_bytes(weights, made.train, keeps_best=False)
    assert 2 * max(sizes) <= planned
    assert planned - disk_room.SPARE_BYTES == pytest.approx(2 * max(sizes), rel=0.1)


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_run_that_will_not_fit_is_refused_before_its_first_step(
    tmp_path, rows, training, recipe, monkeypatch
):
    monkeypatch.setattr(disk_room.shutil, "disk_usage", lambda place: Usage(2**20))
    with pytest.raises(StorageError, match="what the run saves in"):
        training(rows, tmp_path, recipe())


def test_what_a_run_that_goes_on_has_saved_already_is_not_asked_for_again(
    tmp_path, rows, training, recipe, monkeypatch
):
    made = recipe(max_steps=4, checkpoint_steps=1, keep_checkpoints=1)
    run = training(rows, tmp_path, made)
    run.callbacks = (lambda event: event.step == 2,)
    run.run()
    weights = [weight for weight in run.whisper.model.parameters() if weight.requires_grad]
    free = int(0.7 * planned_bytes(weights, made.train, keeps_best=False))
    monkeypatch.setattr(disk_room.shutil, "disk_usage", lambda place: Usage(free))
    training(rows, tmp_path, made)
    with pytest.raises(StorageError, match="what the run saves in"):
        training(rows, tmp_path / "anew", made)
