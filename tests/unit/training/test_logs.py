"""What the logs hold after a resume, and what a full disk does to them."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from whisper_peft.training.events import Event
from whisper_peft.training.logs import JsonLog, TensorBoardLog

LISTENERS = {"log.jsonl": JsonLog, "tensorboard": TensorBoardLog}


def train(listener, first, last):
    """Tell a listener of a run that starts after step `first` and is killed after step `last`."""
    listener(Event("start", first, 9, {}, None))
    for step in range(first + 1, last + 1):
        listener(Event("step", step, 9, {"loss": last + step / 10}, None))
        listener(Event("evaluation", step, 9, {"eval_wer": last + step / 10}, None))


def read_json_log(folder, name):
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(row["step"], row[name]) for row in rows if name in row]


def read_tensorboard(folder, group, name):
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return [(point.step, point.value) for point in events.Scalars(f"{group}/{name}")]


def test_points_past_the_checkpoint_are_gone_after_a_resume(tmp_path):
    expected = [(1, 5.1), (2, 5.2), (3, 4.3), (4, 4.4)]
    for make in LISTENERS.values():
        train(make(tmp_path), 0, 5)
        train(make(tmp_path), 2, 4)
    for group, name in (("train", "loss"), ("evaluation", "eval_wer")):
        assert read_json_log(tmp_path, name) == expected
        assert read_tensorboard(tmp_path, group, name) == [(s, pytest.approx(v)) for s, v in expected]


@pytest.mark.parametrize("make", LISTENERS.values(), ids=LISTENERS)
def test_a_full_disk_is_an_error_of_the_step_that_filled_it(make, tmp_path):
    listener = make(tmp_path)
    listener(Event("start", 0, 9, {}, None))
    listener.path.unlink(missing_ok=True)
    listener.path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        listener(Event("step", 1, 9, {"loss": 1.0}, None))
