"""Several processes take the steps of one with the larger batch; a killed run ends as one never killed."""

import os
import signal
import subprocess
import time

import pytest

pytestmark = pytest.mark.slow


def launcher(processes):
    return ("torchrun", "--nproc_per_node", str(processes), "--master_port", str(29500 + os.getpid() % 1000))


def test_two_processes_take_the_steps_of_one_with_twice_the_batch(launch):
    steps = ("--train.max-steps", "4", "--train.workers", "0")
    launch("lora_librispeech", "one", *steps, "--train.batch-size", "4")
    launch("lora_librispeech", "two", *steps, "--train.batch-size", "2", launcher=launcher(2))
    one, two = launch.report("one"), launch.report("two")
    assert (one["train"]["world_size"], two["train"]["world_size"]) == (1, 2)
    assert launch.losses("two") == pytest.approx(launch.losses("one"), rel=1e-4)
    for when in ("before", "after"):
        assert two["evaluation"][when]["wer"] == one["evaluation"][when]["wer"]


def test_fewer_processes_than_asked_for_stop_with_a_sentence(launch):
    command = launch.command(
        "lora_librispeech", "run", "--train.max-steps", "1",
        launcher=("accelerate", "launch", "--num_processes", "2", "--cpu"),
    )  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=launch.environment(), check=False
    )
    assert done.returncode != 0
    assert "2 processes were asked for, 1 started" in done.stderr
    assert "torchrun --nproc_per_node 2" in done.stderr


@pytest.mark.parametrize("kill_after", [4, 7])
def test_a_killed_run_resumes_to_the_same_weights(launch, kill_after):
    words = ("--train.max-steps", "9", "--train.batch-size", "2", "--train.checkpoint-steps", "3")
    launch("lora_librispeech", "whole", *words)
    command = launch.command("lora_librispeech", "killed", *words)
    process = subprocess.Popen(command, env=launch.environment(), start_new_session=True)
    log = launch.folder / "killed" / "log.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < kill_after:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = len(log.read_text().splitlines())
    launch("lora_librispeech", "killed", *words, "--resume")
    assert len(log.read_text().splitlines()) - 9 <= 3
    assert before < 9
    name = "adapter/adapter_model.safetensors"
    whole, killed = (launch.folder / run / name for run in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()
    assert launch.losses("killed") == launch.losses("whole")
