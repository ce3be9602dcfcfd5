"""Those processes run that were asked for, with the threads that were asked for."""

import subprocess
import sys

import torch
from accelerate.state import PartialState

from whisper_peft.measuring import usable_cores
from whisper_peft.training.processes import asked_processes, start_processes

SCRIPT = """
import torch
from whisper_peft.training.processes import start_processes
print(start_processes("auto").num_processes, torch.get_num_threads())
"""


def started(tmp_path, *words, **environment):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", *words, str(script)]
    done = subprocess.run(
        launch,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={"PATH": "/usr/bin:/bin", **environment},
    )
    return done.stdout.split()[-2:]


def test_a_launcher_does_not_take_the_cores_of_a_single_process(tmp_path):
    processes, threads = started(tmp_path, "--cpu")
    assert processes == "1"
    assert int(threads) == usable_cores()


def test_threads_that_were_asked_for_are_kept(tmp_path):
    assert started(tmp_path, "--cpu", "--num_cpu_threads_per_process", "1") == ["1", "1"]


def test_only_a_launcher_is_asked():
    assert asked_processes(["bash", "-c", "train --num_processes 4"]) is None
    assert asked_processes(["/bin/accelerate", "launch", "--num-processes=4", "x.py"]) == 4
    assert asked_processes(["/bin/accelerate", "launch", "x.py"]) is None


TOGETHER = """
import os, torch
from whisper_peft.errors import MergeError
from whisper_peft.training.processes import on_main_process, start_processes, total_over_processes

def fold():
    assert os.environ["RANK"] == "0"
    raise MergeError("the fold failed", "why", "what to do")

for run in range(2):
    accelerator = start_processes("cpu")
    said = [on_main_process(accelerator, lambda: "merged"), *total_over_processes(accelerator, 1.0)]
    try:
        on_main_process(accelerator, fold)
    except MergeError as error:
        said.append(str(error))
    os.write(1, f"{run} {said}\\n".encode())  # in one piece: both processes write there
"""


def test_all_processes_get_what_the_main_one_made_or_its_error_run_after_run(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(TOGETHER)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run([*torchrun, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = "['merged', 2.0, 'the fold failed - why - what to do']"
    assert sorted(done.stdout.splitlines()) == sorted(f"{run} {said}" for run in (0, 0, 1, 1))


def test_a_run_on_the_cpu_may_follow_one_on_a_gpu(monkeypatch):
    start_processes("cpu")
    monkeypatch.setitem(PartialState._shared_state, "device", torch.device("cuda"))
    assert start_processes("cpu").device.type == "cpu"


ONE_FAILS = """
from whisper_peft.errors import TrainingError
from whisper_peft.training.processes import failing_together, start_processes, total_over_processes

accelerator = start_processes("cpu")
with failing_together(accelerator):
    total_over_processes(accelerator, 1.0)
try:
    with failing_together(accelerator):
        if accelerator.process_index == 1:
            raise ZeroDivisionError
        total_over_processes(accelerator, 1.0)
except TrainingError as error:
    print(error, flush=True)
"""


def test_where_one_process_fails_the_others_name_it_in_one_sentence(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ONE_FAILS)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "3"]
    done = subprocess.run([*torchrun, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    (sentence,) = {line for line in done.stdout.splitlines() if line}
    assert sentence.startswith("process 1 of 3 failed - ")
    assert "[rank1]: ZeroDivisionError" in done.stderr
    assert "RuntimeError" not in done.stderr


ONE_IS_KILLED = """
import os, signal, sys
from whisper_peft.errors import TrainingError
from whisper_peft.training.processes import failing_together, start_processes, total_over_processes

accelerator = start_processes("cpu")
total_over_processes(accelerator, 1.0)
try:
    with failing_together(accelerator):
        if accelerator.process_index == 1:
            print(os.getpid(), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        total_over_processes(accelerator, 1.0)
except TrainingError as error:
    sys.exit(str(error))
"""


def test_where_one_process_is_killed_the_others_name_it_and_how_to_go_on(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ONE_IS_KILLED)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "3"]
    torchrun += ["--monitor-interval", "5"]  # it ends the others once it looks: they are to find out first
    done = subprocess.run([*torchrun, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    (pid,) = done.stdout.split()
    said = [line for line in done.stderr.splitlines() if "is gone" in line]
    assert said
    assert all(f"process 1 (pid {pid}) of 3 is gone - it failed, or was killed" in line for line in said)
    assert all("--resume" in line for line in said)
