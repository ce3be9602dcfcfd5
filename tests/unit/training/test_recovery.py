"""Which checkpoint a run goes on from when some are damaged, and what is removed."""

import shutil

import pytest
from torch import nn

from whisper_peft.errors import ResumeError
from whisper_peft.training.checkpoints import (
    MANIFEST,
    OPTIMIZER,
    STATE,
    TRAINABLE,
    RunState,
    list_checkpoints,
    save_checkpoint,
)
from whisper_peft.training.recovery import keep_referred, newest_whole, remove_leftovers


@pytest.fixture
def folder(tmp_path):
    for step, best_step in ((2, None), (4, 4), (6, 4)):
        if best_step == step:
            write(tmp_path / "best", step)
        write(tmp_path / "checkpoints", step, best_step=best_step)
    return tmp_path


def write(folder, step, **state):
    state = RunState(step=step, **state)
    return save_checkpoint(folder, state=state, model=nn.Linear(2, 2), optimizer_state={}, keep=None)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def newest(folder):
    return newest_whole(folder / "checkpoints", folder / "best")


def test_the_newest_is_taken_and_nothing_is_said(folder):
    assert newest(folder) == (folder / "checkpoints" / "step-000006", ())


@pytest.mark.parametrize("name", [TRAINABLE, OPTIMIZER, STATE, MANIFEST])
@pytest.mark.parametrize("harm", ["flipped", "truncated", "missing"])
def test_a_damaged_one_is_passed_over_with_one_line(folder, name, harm):
    path = folder / "checkpoints" / "step-000006" / name
    if harm == "flipped":
        flip(path)
    elif harm == "truncated":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        path.unlink()
    found, sentences = newest(folder)
    assert found.name == "step-000004"
    if (name, harm) == (MANIFEST, "missing"):  # a folder that was never finished is no checkpoint
        assert sentences == ()
    else:
        (sentence,) = sentences
        assert "step-000006" in sentence
        assert sentence.endswith("going on from step-000004")


def test_best_weights_that_are_damaged_take_those_that_refer_to_them_along(folder):
    flip(folder / "best" / "step-000004" / TRAINABLE)
    found, sentences = newest(folder)
    assert (found.name, len(sentences)) == ("step-000002", 2)
    shutil.rmtree(folder / "best")
    assert newest(folder)[0].name == "step-000002"


def test_where_all_are_damaged_the_run_does_not_go_on(folder):
    for path in list_checkpoints(folder / "checkpoints"):
        flip(path / OPTIMIZER)
    with pytest.raises(ResumeError, match=r"no checkpoint in .* is whole.*step-000006.*step-000002"):
        newest(folder)


def test_where_none_was_written_there_is_none(tmp_path):
    assert newest(tmp_path) == (None, ())


def test_what_a_killed_write_left_is_removed(folder):
    checkpoints = folder / "checkpoints"
    (checkpoints / "step-000008").mkdir()
    (checkpoints / "step-000008" / TRAINABLE).write_bytes(b"half")
    remove_leftovers(checkpoints)
    assert [path.name for path in sorted(checkpoints.iterdir())] == [
        "step-000002",
        "step-000004",
        "step-000006",
    ]


def test_best_weights_that_no_checkpoint_refers_to_go_though_a_state_is_damaged(folder):
    write(folder / "best", 5)
    (folder / "checkpoints" / "step-000002" / STATE).write_text("{")
    keep_referred(folder / "best", folder / "checkpoints")
    assert [path.name for path in list_checkpoints(folder / "best")] == ["step-000004"]


def test_a_copy_beside_a_checkpoint_is_no_checkpoint(folder):
    checkpoints = folder / "checkpoints"
    shutil.copytree(checkpoints / "step-000006", checkpoints / "step-000006 (1)")
    assert newest(folder)[0].name == "step-000006"
