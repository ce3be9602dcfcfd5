"""What is planned moves the way that the run does: more work never takes less, and what is proposed fits."""

from dataclasses import replace
from functools import cache

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_peft.model.blueprint import blueprint, published_config
from whisper_peft.model.precision import choose_precision
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import AdapterSection, Recipe
from whisper_peft.training.planning.cost_model import measured_costs
from whisper_peft.training.planning.machine_speed import MachineSpeed
from whisper_peft.training.planning.material import Material, Rows
from whisper_peft.training.planning.planner import Machine, Planner
from whisper_peft.training.planning.proposals import propose
from whisper_peft.types import Utterance

SIZES = ["tiny", "base", "small", "medium"]
ROWS = [Utterance(str(n), b"", "word " * 20, duration_s=2.0 + n % 13) for n in range(60)]
MATERIAL = Material(Rows(ROWS, len(ROWS)), Rows(ROWS[:20], 20))


def planned(size="tiny", material=MATERIAL, **overrides):
    """Return the planner of a recipe on a machine as fast as the one that was measured."""
    fields = {"model.language": "en", "train.max_steps": 5, **overrides}
    recipe = apply_overrides(Recipe(), {name.replace("__", "."): value for name, value in fields.items()})
    return Planner(recipe, _model(size, recipe.adapter.targets), material, machine_for(recipe))


def machine_for(recipe):
    precision = choose_precision(recipe.model, torch.device("cpu"))
    costs = measured_costs()
    speed = MachineSpeed(costs.products_per_second[precision.name], costs.fresh_bytes_per_second)
    return Machine(torch.device("cpu"), precision, speed, 500_000_000)


@cache
def _model(size, targets):
    return blueprint(published_config(size), AdapterSection(targets=targets))


batches = st.sampled_from([1, 2, 4, 8, 16])
precisions = st.sampled_from(["fp32", "bf16"])
quantizations = st.sampled_from(["none", "int8", "nf4"])


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([1, 2, 4, 8]), precisions, quantizations, st.sampled_from(["cut", "full"]))
def test_a_larger_batch_takes_no_less_time_and_memory(batch, precision, quantize, context):
    fields = {"model__precision": precision, "model__quantize": quantize, "train__audio_context": context}
    fields["train__part_seconds"] = None
    one, two = (planned(train__batch_size=size, **fields).stages()["train"] for size in (batch, 4 * batch))
    less, more = (planned(train__batch_size=size, **fields).forecast() for size in (batch, 4 * batch))
    assert less.stages["train"].memory_bytes <= more.stages["train"].memory_bytes
    assert less.step_seconds <= more.step_seconds
    assert one.held == two.held


@settings(max_examples=10, deadline=None)
@given(st.integers(0, len(SIZES) - 2), batches, precisions)
def test_a_larger_model_takes_more_of_everything(smaller, batch, precision):
    fields = {"train__batch_size": batch, "model__precision": precision}
    small, large = (planned(SIZES[place], **fields).forecast() for place in (smaller, smaller + 1))
    assert small.peak_memory_bytes < large.peak_memory_bytes
    assert small.seconds < large.seconds
    assert sum(small.disk_bytes.values()) < sum(large.disk_bytes.values())


@settings(max_examples=10, deadline=None)
@given(batches, st.integers(1, 100))
def test_more_steps_take_longer_by_as_much_as_a_step_takes(batch, steps):
    few = planned(train__batch_size=batch, train__max_steps=3).forecast()
    many = planned(train__batch_size=batch, train__max_steps=3 + steps).forecast()
    assert many.seconds > few.seconds
    assert few.disk_bytes == many.disk_bytes


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(SIZES), st.sampled_from([8, 16, 32]), st.floats(0.3, 0.95))
def test_what_is_proposed_fits_by_the_same_plan_and_keeps_the_effective_batch(size, batch, share):
    planner = planned(size, train__batch_size=batch)
    free = int(share * planner.forecast().peak_memory_bytes)
    for proposal in propose(
        planner, free, lambda recipe: replace(planner, recipe=recipe, machine=machine_for(recipe))
    ):
        assert proposal.peak_memory_bytes <= free
        assert "--train.batch-size" not in proposal.flags
        assert "--train.gradient-accumulation-steps" not in proposal.flags


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(SIZES), precisions, st.sampled_from([5.0, 10.0, 30.0]))
def test_computing_less_at_once_takes_no_more_memory(size, precision, seconds):
    fields = {"train__batch_size": 32, "model__precision": precision}
    less, more = (planned(size, **fields, train__part_seconds=s).forecast() for s in (seconds, 2 * seconds))
    assert less.stages["train"].memory_bytes <= more.stages["train"].memory_bytes
    assert less.steps == more.steps


def test_a_stream_is_planned_for_its_own_number_of_steps():
    streamed = Material(Rows(ROWS, None), Rows(ROWS[:20], 20))
    fields = {"train__max_steps": None, "train__epochs": 2, "train__stream_steps": 700}
    assert planned(material=streamed, **fields).forecast().steps == 700
    assert planned(**fields).forecast().steps < 700


def test_what_is_learned_is_heard_first_where_its_text_is_restored():
    heard = replace(MATERIAL, restored=frozenset({None}))
    assert "restore text" not in planned().forecast().stages
    few, all_of_it, again = (
        planned(material=heard, train__max_steps=steps).forecast().stages["restore text"].seconds
        for steps in (2, 8, 80)
    )
    assert few < all_of_it
    assert again == all_of_it


def test_a_sample_of_the_rows_is_planned_as_the_whole():
    whole = planned(train__max_steps=None, train__epochs=2).forecast()
    sampled = Material(Rows(ROWS[::2], len(ROWS)), Rows(ROWS[:20:2], 20))
    some = planned(material=sampled, train__max_steps=None, train__epochs=2).forecast()
    assert some.steps == whole.steps
    assert abs(some.seconds / whole.seconds - 1) < 0.15


def test_kept_encoder_states_make_later_epochs_cheaper_and_are_counted():
    fields = {"adapter__targets": "decoder-only", "train__max_steps": None, "train__epochs": 4}
    kept = planned(**fields).forecast()
    heard = planned(**fields, train__encoder_cache="off").forecast()
    assert kept.step_seconds < 0.7 * heard.step_seconds
    assert kept.stages["train"].memory_bytes > heard.stages["train"].memory_bytes
