"""Which steps are left out: not the healthy ones, and not for ever."""

import math

import numpy as np
import pytest

from whisper_peft.errors import DataError, TrainingError
from whisper_peft.training.checkpoints import RunState
from whisper_peft.training.guards import (
    HISTORY,
    LEAST_HISTORY,
    MOST_REFUSED_IN_A_ROW,
    MOST_ROLLBACKS,
    DivergedError,
    carry_over,
    count_refused,
    refusal,
    remember,
)


@pytest.fixture
def state():
    state, rng = RunState(), np.random.default_rng(0)
    for step in range(200):
        remember(state, loss=3 / (1 + step / 10) * rng.uniform(0.5, 1.5), grad_norm=rng.lognormal(0, 0.4))
    return state


def judged(state, loss=0.2, grad_norm=1.0, tokens=9, spikes=True):
    return refusal(state, loss=loss, grad_norm=grad_norm, tokens=tokens, spikes=spikes)


@pytest.mark.parametrize("noise", [0.1, 0.4, 0.8])
def test_a_noisy_run_whose_loss_falls_has_no_spikes(noise):
    state, rng = RunState(), np.random.default_rng(1)
    for step in range(2000):
        loss, norm = (3 / (1 + step / 50) + 0.05) * rng.lognormal(0, noise / 2), rng.lognormal(0, noise)
        assert judged(state, loss, norm) is None
        remember(state, loss=loss, grad_norm=norm)
    assert len(state.recent_losses) == len(state.recent_norms) == HISTORY


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({"loss": 8.0}, "spike"),
        ({"grad_norm": 100.0}, "spike"),
        ({"loss": math.nan}, "not-finite"),
        ({"grad_norm": math.inf}, "not-finite"),
        ({"tokens": 0, "loss": math.nan}, "nothing-heard"),
        ({"loss": 8.0, "spikes": False}, None),
        ({"loss": math.inf, "spikes": False}, "not-finite"),
    ],
)
def test_each_kind_of_step_that_is_left_out(state, numbers, reason):
    assert judged(state) is None
    assert judged(state, **numbers) == reason


def test_a_hard_row_among_rows_known_by_heart_is_no_spike():
    state = RunState(recent_losses=[0.01] * HISTORY, recent_norms=[0.1] * HISTORY)
    assert judged(state, loss=1.8, grad_norm=0.8) is None


def test_the_first_steps_are_not_compared():
    state = RunState(recent_losses=[0.1] * (LEAST_HISTORY - 1), recent_norms=[0.1] * (LEAST_HISTORY - 1))
    assert judged(state, loss=50.0) is None


def test_a_spike_is_counted_and_said_and_too_many_end_the_steps(state, caplog):
    for number in range(1, MOST_REFUSED_IN_A_ROW):
        count_refused(state, "spike", loss=8.0, grad_norm=1.0)
        assert (state.refused_updates, state.spikes, state.refused_in_a_row) == (number, number, number)
    assert "step 1 is left out: its loss 8 or gradient norm 1 is far above the last 50 steps" in caplog.text
    with pytest.raises(DivergedError) as diverged:
        count_refused(state, "not-finite", loss=math.nan, grad_norm=1.0)
    assert diverged.value.may_go_back(state)
    state.rollbacks = MOST_ROLLBACKS
    assert not diverged.value.may_go_back(state)
    error = diverged.value.error(state, 0.003)
    assert isinstance(error, TrainingError)
    assert "has not been finite for 10 steps" in str(error)
    assert "went back 2 times - lower train.learning_rate (0.003)" in str(error)


def test_where_there_is_nothing_to_hear_no_learning_rate_helps(state):
    state.skipped = {"empty": 3}
    diverged = DivergedError("nothing-heard")
    assert not diverged.may_go_back(state)
    assert isinstance(diverged.error(state, 1.0), DataError)
    assert "empty: 3" in str(diverged.error(state, 1.0))


def test_counts_survive_going_back():
    before = RunState(refused_updates=12, spikes=4, rollbacks=1, train_seconds=9.0, micro_batch_parts=4)
    after = RunState(step=5)
    carry_over(before, after)
    assert (after.step, after.refused_updates, after.spikes, after.rollbacks) == (5, 12, 4, 2)
    assert after.micro_batch_parts == 4
