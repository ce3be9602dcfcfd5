"""The loop on real speech and real weights: exact sums, exact resume, clean stops."""

import dataclasses
import json
import math
import multiprocessing
import signal

import numpy as np
import pytest
import torch

from tests.unit.training.runs import make_recipe as recipe
from tests.unit.training.runs import make_training as training
from tests.unit.training.runs import weights
from whisper_peft.data.batches.batching import MicroBatch
from whisper_peft.errors import DataError, RecipeError, ResumeError, TrainingError
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.training.checkpoints import list_checkpoints, trainable_weights
from whisper_peft.training.logs import JsonLog, TensorBoardLog
from whisper_peft.types import EvalResult


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_loss_falls_and_every_number_is_logged(rows, tmp_path):
    run = training(
        rows, tmp_path, recipe(max_steps=10), callbacks=(JsonLog(tmp_path), TensorBoardLog(tmp_path))
    )
    result = run.run()
    assert result.steps == 10
    logged = losses(tmp_path)
    assert sum(logged[5:]) < sum(logged[:5])
    assert (result.first_loss, result.final_loss) == (logged[0], logged[-1])
    assert result.epochs == 2
    row = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert row.keys() >= {"step", "loss", "learning_rate", "grad_norm", "audio_seconds_per_second"}
    assert 0 <= row["data_wait_share"] < 1
    assert list((tmp_path / "tensorboard").iterdir())


def test_the_heap_is_trimmed_every_eight_steps(rows, tmp_path, monkeypatch):
    trimmed = []
    run = training(rows, tmp_path, recipe(max_steps=17))
    monkeypatch.setattr("whisper_peft.training.loop.trim_heap", lambda: trimmed.append(run.state.step))
    run.run()
    assert trimmed == [8, 16]


def test_a_stopped_run_ends_at_the_same_weights_to_the_bit(rows, tmp_path):
    whole = training(rows, tmp_path / "whole", recipe(max_steps=7))
    whole.run()
    first = training(rows, tmp_path / "parts", recipe(max_steps=7))
    first.callbacks = (lambda event: event.kind == "step" and event.step == 3,)
    assert first.run().stopped_by == "callback"
    second = training(rows, tmp_path / "parts", recipe(max_steps=7, workers=1))
    assert second.run(list_checkpoints(tmp_path / "parts" / "checkpoints")[-1]).steps == 7
    expected, found = weights(whole), weights(second)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_accumulation_takes_the_same_steps_as_one_large_batch(long_rows, tmp_path):
    # on the shortest prompts, sums over a few tokens round so unevenly that AdamW's large first steps show it
    found = {}
    for batch_size, accumulation in ((8, 1), (2, 4)):
        folder = tmp_path / f"{batch_size}"
        folder.mkdir()
        made = recipe(
            batch_size=batch_size, gradient_accumulation_steps=accumulation, max_steps=3, learning_rate=1e-4
        )
        training(long_rows, folder, made, callbacks=(JsonLog(folder),)).run()
        found[batch_size] = losses(folder)
    assert found[8] == pytest.approx(found[2], rel=1e-4)


def test_the_number_of_workers_changes_nothing(rows, tmp_path):
    runs = [training(rows, tmp_path / str(workers), recipe(workers=workers)) for workers in (0, 2)]
    for run in runs:
        run.run()
    first, second = (weights(run) for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_interruption_finishes_the_step_and_leaves_a_checkpoint(rows, tmp_path):
    def press_ctrl_c(event):
        if event.kind == "step" and event.step == 1:
            signal.raise_signal(signal.SIGINT)

    run = training(rows, tmp_path, callbacks=(press_ctrl_c,))
    before = signal.getsignal(signal.SIGINT)
    result = run.run()
    assert (result.stopped_by, result.steps) == ("interrupt", 1)
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step-000001"]
    assert signal.getsignal(signal.SIGINT) is before


def scored(wer):
    rates = dict.fromkeys(("wer", "cer", "wer_raw", "cer_raw"), wer)
    counts = dict.fromkeys(("substitutions", "deletions", "insertions", "hits", "peak_memory_bytes"), 1)
    names = {"normalizer": "english", "language": "en", "audio_context": "full"}
    return EvalResult(**rates, **counts, **names, wer_interval=(wer, wer), utterances=1, rtfx=1.0)


def test_the_step_with_the_lowest_wer_is_kept_and_patience_ends_the_run(rows, tmp_path):
    wers, seen = iter([0.5, 0.2, 0.3, 0.4, 0.1]), {}
    made = apply_overrides(recipe(max_steps=9, early_stopping_patience=2), {"eval": {"steps": 1}})
    run = training(rows, tmp_path, made, evaluate=lambda: scored(next(wers)))
    run.callbacks = (lambda event: event.kind == "evaluation" and seen.update({event.step: weights(run)}),)
    result = run.run()
    assert (result.stopped_by, result.steps, result.best_step, result.best_wer) == (
        "early_stopping",
        4,
        2,
        0.2,
    )
    assert all(torch.equal(seen[2][name], weight) for name, weight in weights(run).items())
    assert not all(torch.equal(seen[4][name], weight) for name, weight in weights(run).items())


def test_the_last_step_is_scored_too(rows, tmp_path):
    wers = iter([0.5, 0.2])
    made = apply_overrides(recipe(max_steps=3), {"eval": {"steps": 2}})
    result = training(rows, tmp_path, made, evaluate=lambda: scored(next(wers))).run()
    assert (result.best_step, result.best_wer) == (3, 0.2)


def scored_by_step(run, interrupt_at=None, presses=1):
    """Let a run's evaluations return a WER of their step, all but one that is interrupted."""
    wers = {2: 0.5, 4: 0.2, 5: 0.3}

    def evaluate():
        for _ in range(presses if run.state.step == interrupt_at else 0):
            signal.raise_signal(signal.SIGINT)
        run.interruption.check()
        return scored(wers[run.state.step])

    run.evaluate = evaluate
    return run


@pytest.mark.parametrize(("step", "presses"), [(2, 1), (4, 2), (5, 1)])
def test_an_evaluation_that_is_interrupted_is_made_by_the_resumed_run(rows, tmp_path, step, presses):
    made = apply_overrides(recipe(max_steps=5, checkpoint_steps=9), {"eval": {"steps": 2}})
    whole = scored_by_step(training(rows, tmp_path / "whole", made))
    expected = whole.run()
    first = scored_by_step(training(rows, tmp_path / "parts", made), step, presses)
    stopped = first.run()
    assert (stopped.stopped_by, stopped.steps) == ("interrupt", step)
    (*_, checkpoint) = list_checkpoints(tmp_path / "parts" / "checkpoints")
    assert checkpoint.name == f"step-00000{step}"
    second, scored_steps = scored_by_step(training(rows, tmp_path / "parts", made)), []
    second.callbacks = (lambda event: event.kind == "evaluation" and scored_steps.append(event.step),)
    result = second.run(checkpoint)
    assert scored_steps == [number for number in (2, 4, 5) if number >= step]
    assert (result.best_step, result.best_wer) == (expected.best_step, expected.best_wer) == (4, 0.2)
    assert all(torch.equal(weights(whole)[name], weight) for name, weight in weights(second).items())
    read_state = json.loads((list_checkpoints(checkpoint.parent)[-1] / "state.json").read_text())
    assert not read_state["evaluation_abandoned"]


def test_an_interruption_before_an_evaluation_does_not_wait_for_it(rows, tmp_path):
    made = apply_overrides(recipe(max_steps=5), {"eval": {"steps": 1}})
    run = training(rows, tmp_path, made, evaluate=lambda: pytest.fail("it was scored"))
    run.callbacks = (lambda event: event.kind == "step" and signal.raise_signal(signal.SIGTERM),)
    assert (run.run().stopped_by, run.state.evaluation_abandoned) == ("interrupt", True)


def test_speech_longer_than_its_header_says_is_left_out_and_counted(rows, tmp_path):
    samples = np.random.default_rng(0).normal(0, 0.1, 31 * 16_000).astype(np.float32)
    lying = dataclasses.replace(rows[0], id="lying", audio=samples, sampling_rate=16_000, duration_s=0.2)
    made = recipe(max_steps=1, batch_size=1)
    batch = training((lying,), tmp_path / "lying", made).collator(MicroBatch(0, 0, ((lying,), (rows[0],))))
    assert batch.skipped == (("lying", "too-long"),)
    assert len(batch.frames) == 1


def test_numbers_of_a_callback_are_logged(rows, tmp_path):
    run = training(
        rows, tmp_path, recipe(max_steps=1), callbacks=(lambda _: {"mine": 7.0}, JsonLog(tmp_path))
    )
    run.run()
    assert json.loads((tmp_path / "log.jsonl").read_text())["mine"] == 7.0


def test_only_the_adapter_changes(rows, tmp_path):
    run = training(rows, tmp_path, recipe(max_steps=1))
    frozen = {n: w.detach().clone() for n, w in run.whisper.model.named_parameters() if not w.requires_grad}
    run.run()
    assert all("lora" in name for name in trainable_weights(run.whisper.model))
    assert all(torch.equal(frozen[n], w) for n, w in run.whisper.model.named_parameters() if n in frozen)


def test_a_row_that_cannot_be_decoded_is_counted_and_the_run_goes_on(rows, tmp_path):
    (tmp_path / "bad.flac").write_bytes(b"fLaC" + bytes(60))
    bad = dataclasses.replace(rows[0], id="bad", audio=tmp_path / "bad.flac")
    result = training((*rows[:3], bad), tmp_path, recipe(max_steps=2)).run()
    assert result.skipped == {"unreadable": 1}
    assert math.isfinite(result.final_loss)


def test_a_run_that_fails_leaves_no_worker_to_wait_for(rows, tmp_path):
    def fail(event):
        if event.kind == "step":
            raise ZeroDivisionError

    run = training(rows, tmp_path, recipe(max_steps=30, workers=1), callbacks=(fail,))
    with pytest.raises(ZeroDivisionError):
        run.run()
    assert multiprocessing.active_children() == []


def test_a_stream_needs_the_number_of_steps(rows, tmp_path):
    with pytest.raises(RecipeError, match="max_steps is not set - the training split is a stream"):
        training(Stream(rows), tmp_path, recipe(max_steps=None))
    assert training(Stream(rows), tmp_path, recipe(max_steps=1)).run().steps == 1


def test_a_stream_takes_its_own_number_of_steps_and_counted_rows_their_epochs(rows, tmp_path):
    section = recipe(max_steps=None, epochs=1, stream_steps=2)
    assert training(Stream(rows), tmp_path, section).total_steps == 2
    counted = training(rows, tmp_path, section)
    assert counted.total_steps == counted.plan.steps_per_epoch != 2


class Stream:
    """Rows that can only be walked through."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


def test_a_diverged_run_says_so(rows, tmp_path, monkeypatch):
    run = training(rows, tmp_path, recipe(max_steps=30))
    before = weights(run)
    parameter = next(iter(trainable_weights(run.whisper.model).values()))
    monkeypatch.setattr(run.gradients.module, "forward", lambda *batch: parameter.sum() * float("nan"))
    with pytest.raises(TrainingError, match=r"not been finite for 10 steps.*lower train\.learning_rate"):
        run.run()
    assert all(torch.equal(before[name], weight) for name, weight in weights(run).items())


def spoil(run, monkeypatch, steps, factor):
    """Multiply the loss of some steps, from when they are taken the first time until the run slows down."""
    real = run.gradients.module.forward

    def forward(*batch):
        spoilt = run.state.step + 1 in steps and run.optimization.learning_rate > 6e-4
        return real(*batch) * (factor if spoilt else 1.0)

    monkeypatch.setattr(run.gradients.module, "forward", forward)


def test_a_spike_is_left_out_and_the_run_goes_on(rows, tmp_path, monkeypatch):
    seen = {}
    made = recipe(max_steps=26, batch_size=1, schedule="constant", warmup_steps=0)
    run = training(rows, tmp_path, made)
    run.callbacks = (lambda event: event.kind == "step" and seen.update({event.step: weights(run)}),)
    spoil(run, monkeypatch, {24}, 1000.0)
    result = run.run()
    assert (result.steps, result.refused_updates, result.spikes, result.rollbacks) == (26, 1, 1, 0)
    assert all(torch.equal(seen[23][name], weight) for name, weight in seen[24].items())
    assert not all(torch.equal(seen[24][name], weight) for name, weight in seen[25].items())


def test_a_run_that_diverges_goes_back_to_before_and_on_at_half_the_rate(rows, tmp_path, monkeypatch):
    log = JsonLog(tmp_path)
    made = recipe(max_steps=18, batch_size=1, schedule="constant", warmup_steps=0, checkpoint_steps=3)
    run = training(rows, tmp_path, made, callbacks=(log,))
    spoil(run, monkeypatch, set(range(5, 18)), float("nan"))
    result = run.run()
    assert (result.steps, result.refused_updates, result.rollbacks) == (18, 10, 1)
    rows_logged = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [row["step"] for row in rows_logged] == list(range(1, 19))
    rates = {row["step"]: row["learning_rate"] for row in rows_logged}
    assert (rates[3], rates[4], rates[18]) == (1e-3, 5e-4, 5e-4)
    again = training(rows, tmp_path, made)
    assert again.run(list_checkpoints(tmp_path / "checkpoints")[-1]).rollbacks == 1
    assert again.optimization.learning_rate == 5e-4


def test_an_early_stopped_run_that_is_resumed_ends_where_it_did(rows, tmp_path):
    made = apply_overrides(recipe(max_steps=9, early_stopping_patience=1), {"eval": {"steps": 2}})
    wers = iter([0.2, 0.3, 0.1])
    first = training(rows, tmp_path, made, evaluate=lambda: scored(next(wers)))
    assert first.run().stopped_by == "early_stopping"
    second = training(rows, tmp_path, made, evaluate=lambda: scored(next(wers)))
    result = second.run(list_checkpoints(tmp_path / "checkpoints")[-1])
    assert (result.stopped_by, result.steps, result.best_step) == ("early_stopping", 4, 2)
    expected, found = weights(first), weights(second)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_run_killed_after_an_evaluation_still_has_the_best_weights_of_its_checkpoint(rows, tmp_path):
    made = apply_overrides(recipe(max_steps=8, checkpoint_steps=3), {"eval": {"steps": 2}})
    wers = iter([0.3, 0.2, 0.4, 0.4, 0.4])

    def evaluate():
        return scored(next(wers))

    def kill(event):
        if event.kind == "step" and event.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training(rows, tmp_path, made, evaluate=evaluate, callbacks=(kill,)).run()
    seen = {}
    second = training(rows, tmp_path, made, evaluate=evaluate)
    second.callbacks = (lambda event: event.kind == "start" and seen.update(weights(second)),)
    result = second.run(list_checkpoints(tmp_path / "checkpoints")[-1])
    assert (result.best_step, result.best_wer, result.steps) == (2, 0.3, 8)
    assert [path.name for path in list_checkpoints(tmp_path / "best")] == ["step-000002"]


def test_a_resumed_run_takes_up_the_log_where_its_checkpoint_is(rows, tmp_path):
    log = JsonLog(tmp_path)
    training(rows, tmp_path, callbacks=(log, lambda event: event.step == 2)).run()
    with log.path.open("a") as lines:
        lines.write('{"step": 3, "loss": 9.0}\n{"step": 4, "lo')
    training(rows, tmp_path, callbacks=(log,)).run(list_checkpoints(tmp_path / "checkpoints")[-1])
    steps = [json.loads(line)["step"] for line in log.path.read_text().splitlines()]
    assert steps == [1, 2, 3, 4]
    assert 9.0 not in losses(tmp_path)


def test_a_checkpoint_of_another_number_of_processes_or_rows_is_refused(rows, tmp_path):
    training(rows, tmp_path, recipe(max_steps=None, epochs=1)).run()
    (*_, checkpoint) = list_checkpoints(tmp_path / "checkpoints")
    with pytest.raises(ResumeError, match=r"5 steps of 2 rows, this run of 3 of 2.*resume with"):
        training(rows[:5], tmp_path, recipe(max_steps=None, epochs=1)).run(checkpoint)


def test_a_step_without_a_usable_recording_changes_nothing(rows, tmp_path):
    (tmp_path / "bad.flac").write_bytes(b"fLaC" + bytes(60))
    bad = dataclasses.replace(rows[0], id="bad", audio=tmp_path / "bad.flac")
    made = recipe(max_steps=4, batch_size=1, weight_decay=0.1)
    run = training((rows[0], bad), tmp_path, made, callbacks=(JsonLog(tmp_path),))
    seen = []
    run.callbacks = (*run.callbacks, lambda event: event.kind == "step" and seen.append(weights(run)))
    result = run.run()
    empty = [number for number, loss in enumerate(losses(tmp_path)) if math.isnan(loss)]
    assert len(empty) == 2
    for number in empty:
        if number:
            before, after = seen[number - 1], seen[number]
            assert all(torch.equal(before[name], after[name]) for name in before)
    assert result.final_loss > 0


def test_a_run_that_finds_nothing_usable_stops_and_says_so(rows, tmp_path):
    (tmp_path / "bad.flac").write_bytes(b"fLaC" + bytes(60))
    bad = dataclasses.replace(rows[0], id="bad", audio=tmp_path / "bad.flac")
    with pytest.raises(DataError, match=r"no recording of the last 10 steps.*unreadable: 4"):
        training((bad,) * 4, tmp_path, recipe(max_steps=30)).run()
