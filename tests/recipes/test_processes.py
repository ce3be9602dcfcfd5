"""Several processes take the steps of one with the larger batch; a killed run ends as one never killed."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def launcher(processes):
    return ("torchrun", "--nproc_per_node", str(processes), "--master_port", str(29500 + os.getpid() % 1000))


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_take_the_steps_of_one_with_the_batch_of_all(launch, processes):
    steps = ("--train.max-steps", "4", "--train.workers", "0")
    launch("lora_librispeech", "one", *steps, "--train.batch-size", "4")
    share = ("--train.batch-size", str(4 // processes))
    launch("lora_librispeech", "all", *steps, *share, launcher=launcher(processes))
    one, several = launch.report("one"), launch.report("all")
    assert (one["train"]["world_size"], several["train"]["world_size"]) == (1, processes)
    assert launch.losses("all") == pytest.approx(launch.losses("one"), rel=1e-4)
    for when in ("before", "after"):
        assert several["evaluation"][when]["wer"] == one["evaluation"][when]["wer"]


def test_a_verb_runs_in_several_processes(launch):
    module = (*launcher(2), "-m", "whisper_peft", "finetune")
    launch(Path("lora-librispeech"), "verb", "--train.max-steps", "1", launcher=module)
    assert launch.report("verb")["train"]["world_size"] == 2


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


def test_two_processes_with_caches_of_their_own_take_the_steps_of_one(launch):
    steps = ("--train.epochs", "3", "--train.workers", "0")
    launch("decoder_only", "one", *steps, "--train.batch-size", "4")
    launch("decoder_only", "two", *steps, "--train.batch-size", "2", launcher=launcher(2))
    assert launch.losses("two") == pytest.approx(launch.losses("one"), rel=1e-4)
    one, two = (launch.report(run)["train"]["encoder_cache"] for run in ("one", "two"))
    assert one["hits"] == 2 * one["misses"]
    assert two["hits"] + two["misses"] == one["hits"] + one["misses"]
    assert one["bytes"] < two["bytes"] <= 2 * one["bytes"]


@pytest.mark.parametrize("kind", ["auto", "disk"])
def test_a_run_killed_with_kept_states_resumes_to_the_same_weights(launch, kind):
    words = ("--train.epochs", "3", "--train.batch-size", "4", "--train.checkpoint-steps", "2")
    killed_as_whole(launch, "decoder_only", (*words, "--train.encoder-cache", kind), kill_after=6, steps=12)


@pytest.mark.parametrize("kill_after", [4, 7])
def test_a_killed_run_resumes_to_the_same_weights(launch, kill_after):
    words = ("--train.max-steps", "9", "--train.batch-size", "2", "--train.checkpoint-steps", "3")
    killed_as_whole(launch, "lora_librispeech", words, kill_after=kill_after, steps=9)


def killed_as_whole(launch, script, words, *, kill_after, steps):
    """Kill a run after some steps, resume it, and compare it with one that was never killed."""
    launch(script, "whole", *words)
    command = launch.command(script, "killed", *words)
    process = subprocess.Popen(command, env=launch.environment(), start_new_session=True)
    log = launch.folder / "killed" / "log.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < kill_after:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = len(log.read_text().splitlines())
    launch(script, "killed", *words, "--resume")
    assert len(log.read_text().splitlines()) - steps <= 3
    assert before < steps
    name = "adapter/adapter_model.safetensors"
    whole, killed = (launch.folder / run / name for run in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()
    assert launch.losses("killed") == launch.losses("whole")
