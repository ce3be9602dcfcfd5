"""Those processes run that were asked for, with the threads that were asked for."""

import subprocess
import sys

from whisper_peft.measuring import usable_cores
from whisper_peft.training.processes import asked_processes

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
