"""One run to a folder, on one machine, on several, and after a crash."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace

import pytest

from whisper_peft.errors import StorageError
from whisper_peft.pipeline.runs import run_lock
from whisper_peft.pipeline.runs.run_lock import LOCK_FILE, SILENCE_S, RunLock, this_process

HOLD = """
import sys, time
from pathlib import Path
from whisper_peft.pipeline.runs.run_lock import RunLock
lock = RunLock()
print(lock.take(Path(sys.argv[1])), flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "None\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def lie(folder, now, **changes):
    """Leave the lock of another process in a folder."""
    holder = replace(this_process(now), **changes)
    (folder / LOCK_FILE).write_text(json.dumps(asdict(holder)))


def test_a_second_process_is_refused_and_told_who_is_at_work(tmp_path, other):
    with pytest.raises(StorageError, match=rf"in use - process {other.pid} on .* - wait for it to end"):
        RunLock().take(tmp_path)


def test_the_lock_of_a_killed_process_is_taken_over_and_said(tmp_path, other):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with RunLock() as lock:
        assert f"process {other.pid} on" in lock.take(tmp_path)
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()


def test_another_process_of_the_same_number_is_not_taken_for_the_holder(tmp_path):
    lie(tmp_path, time.time(), started=this_process(0).started - 1000)
    with RunLock() as lock:
        assert "is gone" in lock.take(tmp_path)


def test_a_lock_is_let_go_after_errors_too_and_an_empty_folder_with_it(tmp_path):
    folder = tmp_path / "run"

    def fail():
        with RunLock() as lock:
            lock.take(folder)
            return 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not folder.exists()


@pytest.mark.parametrize("silent", [SILENCE_S - 10, SILENCE_S + 10])
def test_a_lock_of_another_machine_counts_until_it_has_been_silent(tmp_path, silent):
    lie(tmp_path, 1000.0, machine="another", host="colab")
    lock = RunLock(clock=lambda: 1000.0 + silent)
    if silent < SILENCE_S:
        with pytest.raises(StorageError, match=r"on colab gave a sign of life 170 s ago.*again in 10 s"):
            lock.take(tmp_path)
        assert json.loads((tmp_path / LOCK_FILE).read_text())["host"] == "colab"
    else:
        assert "on colab has given no sign of life for 190 s" in lock.take(tmp_path)
        lock.release()


@pytest.mark.parametrize(("age", "refused"), [(0, True), (SILENCE_S + 10, False)])
def test_half_a_lock_is_judged_by_the_age_of_its_file(tmp_path, age, refused):
    path = tmp_path / LOCK_FILE
    path.write_text('{"pid": 1')
    os.utime(path, (time.time() - age,) * 2)
    with RunLock() as lock:
        if refused:
            with pytest.raises(StorageError, match="another process gave a sign of life"):
                lock.take(tmp_path)
        else:
            assert "another process has given no sign of life" in lock.take(tmp_path)


def test_a_holder_gives_signs_of_life_and_notices_that_it_was_taken_for_dead(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "BEAT_S", 0.01)
    times = iter(range(10**6))
    with RunLock(clock=lambda: float(next(times))) as lock:
        lock.take(tmp_path)
        wait(lambda: json.loads((tmp_path / LOCK_FILE).read_text())["beat"] > 3)
        lock.refuse_if_lost()
        partial = tmp_path / "partial"
        partial.write_text(json.dumps(asdict(replace(this_process(0.0), pid=1, host="colab"))))
        while lock.taken_by is None:
            partial.write_text(json.dumps(asdict(replace(this_process(0.0), pid=1, host="colab"))))
            partial.replace(tmp_path / LOCK_FILE)
            time.sleep(0.02)
        with pytest.raises(StorageError, match="was taken over by process 1 on colab"):
            lock.refuse_if_lost()
    assert (tmp_path / LOCK_FILE).exists()


def wait(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_sign_of_life_at_the_moment_of_release_does_not_put_the_lock_back(tmp_path, monkeypatch):
    begun, slow = threading.Event(), run_lock._write

    def write(path, holder):
        begun.set()
        time.sleep(0.3)
        slow(path, holder)

    monkeypatch.setattr(run_lock, "BEAT_S", 0.01)
    monkeypatch.setattr(run_lock, "_write", write)
    lock = RunLock()
    lock.take(tmp_path)
    (tmp_path / "report.json").touch()
    begun.wait(10)
    lock.release()
    time.sleep(0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
