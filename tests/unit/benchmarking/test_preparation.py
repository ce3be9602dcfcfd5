import dataclasses

import numpy as np
import pytest
import soundfile

from whisper_peft.benchmarking.preparation import prepare, whole_epochs
from whisper_peft.benchmarking.sides import SideTask
from whisper_peft.errors import BenchmarkError, RecipeError
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import Recipe
from whisper_peft.recipe.yaml_files import read_recipe
from whisper_peft.types import Utterance


def prepared(recipe, folder, ours=None, reference=None):
    return prepare(recipe, ours=ours or {}, reference=reference or {}, folder=folder)


def test_both_sides_get_the_same_work(recipe, narrow_model, tmp_path):
    both = prepared(recipe(narrow_model), tmp_path)
    ours, theirs = (both.task(side, "train", tmp_path) for side in ("ours", "reference"))
    assert ours.rows == theirs.rows
    assert ours.learning == theirs.learning
    assert (ours.lora, ours.model, ours.precision) == (theirs.lora, theirs.model, theirs.precision)
    assert len(ours.rows) == 16


def test_a_side_may_be_set_otherwise(recipe, narrow_model, tmp_path):
    both = prepared(
        recipe(narrow_model),
        tmp_path,
        ours={"model.precision": "bf16", "train.audio_context": "full"},
        reference={"train.workers": 2},
    )
    ours, theirs = (both.task(side, "train", tmp_path) for side in ("ours", "reference"))
    assert (ours.precision, theirs.precision) == ("bf16", "fp32")
    assert (ours.learning.workers, theirs.learning.workers) == (0, 2)
    assert read_recipe(tmp_path / "ours.yaml").train.audio_context == "full"


def test_a_task_survives_its_file(recipe, narrow_model, tmp_path):
    task = prepared(recipe(narrow_model), tmp_path).task("reference", "evaluate", tmp_path)
    assert SideTask.read(task.write(tmp_path / "task.json")) == task


def test_speech_in_memory_is_written_where_both_sides_read_it(recipe, narrow_model, tmp_path):
    tone = np.sin(np.arange(16_000) / 8).astype(np.float32) / 2
    rows = [Utterance("tone", tone, "a tone", sampling_rate=16_000)]
    in_memory = recipe(narrow_model, data={"source": {"train": rows, "test": rows}})
    (row,) = prepared(in_memory, tmp_path).train
    samples, rate = soundfile.read(row.path, dtype="float32")
    assert rate == 16_000
    assert np.abs(samples - tone).max() < 1e-4


def test_few_steps_take_as_many_rows_and_many_steps_whole_epochs():
    rows = [Utterance(str(number), b"", "") for number in range(40)]
    short, long = ({"train.batch_size": 4, "train.max_steps": steps} for steps in (2, 29))
    few, once = whole_epochs(rows, apply_overrides(Recipe(), short))
    assert (len({row.id for row in few}), once) == (8, 1)
    many, epochs = whole_epochs(rows, apply_overrides(Recipe(), long))
    assert (len(many), epochs) == (40, 3)


def test_restored_text_is_sentence_case_on_both_sides_and_said(recipe, narrow_model, tmp_path):
    both = prepared(recipe(narrow_model, data={"text_case": "restore"}), tmp_path)
    assert any("not restored" in sentence for sentence in both.sentences)
    assert read_recipe(tmp_path / "ours.yaml").data.text_case == "sentence"
    assert all(row.text == f" {row.text[1:].capitalize()}" for row in both.train)


def test_augmentation_is_left_out_and_said(recipe, narrow_model, tmp_path):
    noisy = recipe(narrow_model, augment={"gain": {"p": 1.0}})
    both = prepared(noisy, tmp_path)
    assert any("augmentation is left out" in sentence for sentence in both.sentences)
    assert read_recipe(tmp_path / "ours.yaml").augment.gain.p == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("adapter.method", "full"),
        ("adapter.init_lora_weights", "eva"),
        ("model.quantize", "int8"),
        ("train.optimizer", "adamw-8bit"),
    ],
)
def test_what_the_reference_cannot_do_is_refused(recipe, narrow_model, tmp_path, field, value):
    with pytest.raises(BenchmarkError, match=f"{field} is {value} - the reference trains a fresh LoRA"):
        prepared(recipe(narrow_model, **{field: value}), tmp_path)


def test_an_unknown_field_of_a_side_is_told(recipe, narrow_model, tmp_path):
    with pytest.raises(RecipeError, match=r"model\.precisoin"):
        prepared(recipe(narrow_model), tmp_path, ours={"model.precisoin": "bf16"})


def test_sizes_are_those_of_the_labels(recipe, narrow_model, tmp_path):
    both = prepared(recipe(narrow_model), tmp_path)
    assert all(size.decoder_tokens == size.targets + 1 for size in both.sizes)  # start, no-timestamps
    assert sum(size.duration_s for size in both.sizes) == pytest.approx(
        sum(row.duration_s for row in both.train)
    )
    assert dataclasses.astuple(both.sizes[0])[0] == both.train[0].duration_s
