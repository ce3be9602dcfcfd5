"""A micro-batch in parts: nothing lost, nothing twice, the same gradient."""

import math
import subprocess
import sys

import pytest
import torch
from accelerate import Accelerator

from whisper_peft.data.batches.batching import MicroBatch
from whisper_peft.errors import TrainingError
from whisper_peft.measuring import is_out_of_memory
from whisper_peft.training import gradients
from whisper_peft.training.checkpoints import RunState
from whisper_peft.training.halving import most_windows, parts_of

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 14.58 GiB"
CPU = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to ..."


@pytest.fixture
def run(rows, tmp_path, training, recipe):
    return training(rows, tmp_path, recipe(max_steps=3, batch_size=6))


@pytest.fixture
def batch(run, rows):
    return run.collator(MicroBatch(0, 0, tuple((row,) for row in rows[:6])))


@pytest.mark.parametrize("parts", [1, 2, 3, 6, 64])
def test_parts_are_the_batch_cut_between_windows(batch, parts):
    cut = parts_of(batch, parts)
    assert len(cut) == min(parts, 6)
    for name in ("samples", "decoder_input_ids", "labels"):
        assert torch.equal(torch.cat([getattr(part, name) for part in cut]), getattr(batch, name))
    for name in ("sample_counts", "frames", "token_counts"):
        assert sum((getattr(part, name) for part in cut), ()) == getattr(batch, name)
    if batch.keep is not None:
        assert torch.equal(torch.cat([part.keep for part in cut], dim=1), batch.keep)
    assert all(len(part.samples) == sum(part.sample_counts) for part in cut)
    assert most_windows([batch, *cut]) == 6


def test_only_memory_errors_are_taken_for_one():
    for error in (torch.cuda.OutOfMemoryError(CUDA), RuntimeError(CPU), MemoryError()):
        assert is_out_of_memory(error)
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("out of memory")):
        assert not is_out_of_memory(error)


def short_of_memory(run, monkeypatch, most, error, backward=False):
    """Let the loss fail on more than so many windows, and note what it was given."""
    given, real = [], run.gradients.module.forward

    def forward(samples, sample_counts, *rest):
        given.append(len(sample_counts))
        loss = real(samples, sample_counts, *rest)
        if len(sample_counts) <= most:
            return loss
        if not backward:
            raise error
        weight = run.gradients.weights[0]
        weight.grad = torch.full_like(weight, 1e6)  # as half a backward pass leaves it
        return _Failing.apply(loss, error)

    monkeypatch.setattr(run.gradients.module, "forward", forward)
    return given


class _Failing(torch.autograd.Function):
    @staticmethod
    def forward(ctx, loss, error):
        ctx.error = error
        return loss.clone()

    @staticmethod
    def backward(ctx, _):
        raise ctx.error


def gathered(run, batch, state):
    summed, halved = run.gradients.gather([batch], tokens=batch.target_tokens, state=state)
    found = [weight.grad.clone() for weight in run.gradients.weights]
    run.optimization.optimizer.zero_grad()
    return summed, halved, found


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError(CUDA), RuntimeError(CPU)])
def test_a_batch_that_does_not_fit_gives_the_same_gradient_in_parts(
    run, batch, monkeypatch, caplog, error, backward
):
    state = RunState()
    expected_loss, halved, expected = gathered(run, batch, state)
    assert not halved
    given = short_of_memory(run, monkeypatch, 2, error, backward=backward)
    loss, halved, found = gathered(run, batch, state)
    assert halved
    assert state.micro_batch_parts == 4
    assert given[0] == 6
    assert sum(given[-4:]) == 6
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for one, other in zip(found, expected, strict=True):
        # by the norm: single entries near zero differ by the rounding of other products and threads
        assert (one - other).norm() <= 1e-3 * other.norm()
    assert "memory ran short in step 1: each micro-batch is dealt into 4 parts" in caplog.text
    given.clear()
    gathered(run, batch, state)
    assert len(given) == 4


def test_a_micro_batch_longer_than_is_computed_at_once_gives_the_same_gradient_in_parts(
    run, batch, monkeypatch, caplog
):
    state, seconds = RunState(), sum(batch.frames) / 100
    expected_loss, _, expected = gathered(run, batch, state)
    given = short_of_memory(run, monkeypatch, 6, RuntimeError(CPU))
    monkeypatch.setattr(run.gradients, "longest_part_s", seconds / 2.5)
    loss, halved, found = gathered(run, batch, state)
    assert (len(given), sum(given), halved, state.micro_batch_parts) == (3, 6, False, 1)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= 1e-3 * other.norm()
    assert "memory ran short" not in caplog.text


@pytest.mark.parametrize(("part_seconds", "longest_s"), [("auto", 80.0), (None, math.inf), (12.5, 12.5)])
def test_what_is_computed_at_once_is_the_recipes(rows, tmp_path, training, recipe, part_seconds, longest_s):
    run = training(rows, tmp_path, recipe(max_steps=1, part_seconds=part_seconds))
    assert run.gradients.longest_part_s == longest_s


def test_a_window_that_does_not_fit_alone_ends_the_run_with_advice(run, batch, monkeypatch):
    short_of_memory(run, monkeypatch, 0, RuntimeError(CPU))
    with pytest.raises(TrainingError, match=r"a single window of .* does not fit.*gradient-checkpointing"):
        gathered(run, batch, RunState())


def test_other_errors_pass(run, batch, monkeypatch):
    short_of_memory(run, monkeypatch, 0, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        gathered(run, batch, RunState())


def test_a_run_that_was_halved_goes_on_so_when_it_is_resumed(
    run, rows, tmp_path, training, recipe, monkeypatch
):
    short_of_memory(run, monkeypatch, 3, RuntimeError(CPU))
    run.callbacks = (lambda event: event.kind == "step" and event.step == 1,)
    assert run.run().micro_batch_parts == 2
    again = training(rows, tmp_path, recipe(max_steps=3, batch_size=6))
    given = short_of_memory(again, monkeypatch, 3, RuntimeError(CPU))
    result = again.run(next((tmp_path / "checkpoints").iterdir()))
    assert (result.steps, result.micro_batch_parts) == (3, 2)
    assert max(given) <= 3


def test_a_real_limit_of_the_memory_is_met_by_halving():
    script = """
import resource, torch
from whisper_peft.measuring import is_out_of_memory
torch.set_num_threads(1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20,) * 2)
parts = 1
while True:
    try:
        print(parts, [torch.ones(2**27 // parts, dtype=torch.float32).nbytes for _ in range(1)])
        break
    except (RuntimeError, MemoryError) as error:
        assert is_out_of_memory(error), error
    parts *= 2
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("4 "), done.stdout + done.stderr


def test_buckets_hold_every_gradient_once(run, monkeypatch):
    monkeypatch.setattr(gradients, "BUCKET_BYTES", 3000)
    for weight in run.gradients.weights:
        weight.grad = torch.ones_like(weight)
    buckets = list(run.gradients._buckets())
    assert len(buckets) > 2
    found = [gradient for bucket in buckets for gradient in bucket]
    assert [id(one) for one in found] == [id(weight.grad) for weight in run.gradients.weights]
    assert Accelerator(cpu=True).num_processes == 1
