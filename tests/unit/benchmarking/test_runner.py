"""benchmark() from the outside, and the claim behind it: both sides do the same work on the same labels."""

import json

import pytest
import torch

from whisper_peft import benchmark
from whisper_peft.benchmarking import our_side, runner
from whisper_peft.benchmarking.preparation import prepare
from whisper_peft.benchmarking.processes import run_side
from whisper_peft.benchmarking.runner import Benchmark
from whisper_peft.cli import main
from whisper_peft.errors import BenchmarkError, RecipeError, StorageError
from whisper_peft.model.library_noise import no_false_alarms_of_peft


@pytest.fixture(scope="module")
def compared(recipe, narrow_model, tmp_path_factory):
    """Return the result of a comparison on an untrained model, and its folder."""
    folder = tmp_path_factory.mktemp("benchmark") / "run"
    works = ("train", "log-mel")
    return benchmark(recipe(narrow_model), what=works, rounds=1, wer=False, output_dir=folder), folder


def test_both_sides_learn_from_the_same(compared):
    (theirs,), (ours,) = compared[0].train.reference, compared[0].train.ours
    assert (theirs.utterances, theirs.steps, theirs.rows_per_step) == (16, 2, 8)
    assert (ours.utterances, ours.steps, ours.rows_per_step) == (16, 2, 8)
    assert theirs.target_tokens == ours.target_tokens
    assert theirs.prefix_tokens == 16
    assert theirs.audio_seconds == pytest.approx(ours.audio_seconds, rel=1e-3)


def test_every_measure_is_there(compared):
    result, folder = compared
    written = json.loads((folder / "benchmark.json").read_text())
    assert written == json.loads(json.dumps(result.to_dict()))
    assert result.train.speed_ratio.min > 0
    assert result.log_mel.max_difference < 1e-4
    assert result.log_mel.max_difference_padded < 1e-4
    assert written["meta"]["threads"] == torch.get_num_threads()
    assert "<svg" in (folder / "benchmark.svg").read_text()


def test_memory_and_wait_are_within_what_is_possible(compared):
    for run in (*compared[0].train.reference, *compared[0].train.ours):
        assert 0 < run.memory_bytes < run.lifetime_peak_bytes
        assert 0 < run.data_wait_seconds < run.wall_seconds
        assert sum(run.step_seconds) == pytest.approx(run.wall_seconds)


def test_another_comparison_is_not_overwritten(compared, recipe, narrow_model):
    with pytest.raises(StorageError, match="holds another comparison"):
        benchmark(recipe(narrow_model), output_dir=compared[1])


def test_a_side_that_fails_says_why_and_where(recipe, narrow_model, tmp_path):
    task = prepare(recipe(narrow_model), ours={}, reference={}, folder=tmp_path).task(
        "reference", "train", tmp_path
    )
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(BenchmarkError, match="the reference failed to train") as failed:
        run_side("reference", task, tmp_path / "round")
    assert str(tmp_path / "round" / "log.txt") in str(failed.value)


@pytest.mark.parametrize("wrong", [{"what": ("trian",)}, {"rounds": 0}])
def test_a_comparison_that_is_none_is_refused_at_once(recipe, narrow_model, tmp_path, wrong):
    with pytest.raises(RecipeError):
        benchmark(recipe(narrow_model), output_dir=tmp_path / "run", **wrong)
    assert not (tmp_path / "run").exists()


def test_the_verb_passes_what_is_typed(monkeypatch, capsys, compared):
    seen = {}

    def stand_in(recipe, **options):
        seen.update(options, recipe=recipe)
        return compared[0]

    monkeypatch.setattr("whisper_peft.benchmark", stand_in, raising=False)
    words = ["benchmark", "--what", "train", "log-mel", "--rounds", "3", "--no-wer", "--train.seed", "7"]
    main(None, [*words, "--ours", "model.precision=bf16", "--reference", "train.workers=1"])
    assert (seen["what"], seen["rounds"], seen["wer"]) == (("train", "log-mel"), 3, False)
    assert (seen["ours"], seen["reference"]) == ({"model.precision": "bf16"}, {"train.workers": 1})
    assert seen["train"] == {"seed": 7}
    assert seen["recipe"].train.epochs == 1
    assert "audio-seconds per second" in capsys.readouterr().out


def test_epochs_that_are_asked_for_stand_above_the_steps_of_a_recipe(
    monkeypatch, recipe, narrow_model, tmp_path
):
    chosen = recipe(narrow_model, **{"train.max_steps": 1000})
    seen = {}
    monkeypatch.setattr(runner, "prepare", lambda recipe, **options: seen.update(recipe=recipe) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        benchmark(chosen, train={"epochs": 2}, output_dir=tmp_path / "run")
    assert (seen["recipe"].train.max_steps, seen["recipe"].train.epochs) == (None, 2)


def test_a_word_that_sets_nothing_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(None, ["benchmark", "--ours", "bf16"])
    assert "model.precision=bf16" in capsys.readouterr().err


@torch.no_grad()
def test_the_first_loss_of_both_is_the_same_on_the_same_labels(recipe, reference, tmp_path, tiny_en):
    chosen = recipe(
        "openai/whisper-tiny.en", train={"max_steps": 1, "batch_size": 3, "audio_context": "full"}
    )
    both = prepare(chosen, ours={}, reference={}, folder=tmp_path)
    task = both.task("reference", "train", tmp_path)
    processor = reference.WhisperProcessor.from_pretrained(task.model)
    prepared = reference.Preparation(processor)
    rows = [prepared(reference._fields(row)) for row in task.rows]
    with no_false_alarms_of_peft():
        model = reference.adapted_model(task)
    batch = reference.PaddingCollator(processor, model.config.decoder_start_token_id)(rows)
    batch.pop("audio_seconds")
    logits = model(**batch).logits
    labels = batch["labels"]
    labels[:, 0] = -100  # no-timestamps: the public recipe scores it, ours masks it
    theirs = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    with torch.enable_grad():
        ours = our_side.train(both.task("ours", "train", tmp_path / "ours"))
    assert ours.target_tokens == int((labels != -100).sum())
    assert ours.losses[0] == pytest.approx(float(theirs), abs=1e-4)


def test_micro_batches_of_the_reference_add_up_to_its_batch(recipe, reference, narrow_model, tmp_path):
    losses = []
    for rows, micro_batches in ((8, 1), (4, 2)):
        fields = {"train.batch_size": rows, "train.gradient_accumulation_steps": micro_batches}
        chosen = recipe(narrow_model, **{"train.max_steps": 1, **fields})
        folder = tmp_path / str(rows)
        folder.mkdir()
        task = prepare(chosen, ours={}, reference={}, folder=folder).task("reference", "train", folder)
        with no_false_alarms_of_peft():
            run = reference.train(task)
        assert (run.steps, run.utterances) == (1, 8)
        losses += run.losses
    assert losses[0] == pytest.approx(losses[1], rel=0.01)  # the recipe averages rows of unlike length alike


def test_both_sides_listen_with_the_adapter_that_is_given(
    recipe, reference, narrow_model, tmp_path, compared
):
    adapter = compared[0].train.ours[0].adapter
    chosen = recipe(narrow_model, **{"adapter.init": adapter})
    with pytest.raises(BenchmarkError, match=r"adapter\.init is given"):
        prepare(chosen, ours={}, reference={}, folder=tmp_path)
    both = prepare(chosen, ours={}, reference={}, folder=tmp_path, trains=False)
    listeners = Benchmark(both, ("evaluate",), 1, wer=False).adapters
    assert set(listeners.values()) == {adapter}


@pytest.mark.slow
def test_everything_is_compared_on_real_weights_and_real_speech(recipe, tmp_path):
    chosen = recipe("openai/whisper-tiny.en", **{"train.workers": None})
    works = ("train", "evaluate", "log-mel")
    result = benchmark(chosen, what=works, rounds=1, output_dir=tmp_path / "run")
    (theirs,), (ours,) = result.train.reference, result.train.ours
    assert (theirs.utterances, theirs.steps, theirs.target_tokens) == (16, 2, ours.target_tokens)
    assert (ours.utterances, ours.steps) == (16, 2)
    assert result.train.worker_trials.keys() == {0, 1, 2}
    assert theirs.workers == max(result.train.worker_trials, key=result.train.worker_trials.get)
    assert result.train.scores.keys() == {"full", "cut"}
    assert result.train.scores["full"].reference_wer < 0.3
    assert result.evaluate.scores.reference_wer < 0.3
    assert len(result.evaluate.ours[0].hypotheses) == result.evaluate.scores.utterances == 3
