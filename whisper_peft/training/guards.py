"""Which steps change no weight: those without a finite loss, and those that stick out of the last ones.

One damaged transcript, or one row of noise, may give a gradient that undoes hundreds of steps. Clipping
bounds its length, not its direction. A step is left out when its loss or its gradient's norm lies far above
the last steps that were taken, by the median and the median absolute deviation (MAD) of those, which a spike
does not move.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Sequence
from typing import Literal, TypeAlias

from whisper_peft.errors import DataError, TrainingError, WhisperPeftError
from whisper_peft.training.checkpoints import RunState

logger = logging.getLogger(__name__)

Refusal: TypeAlias = Literal["nothing-heard", "not-finite", "spike"]
"""Why a step changes no weight."""

HISTORY = 50
"""Steps that a step is compared with."""

LEAST_HISTORY = 20
"""Steps that must have been taken before any is compared: the first ones fall fast."""

DEVIATIONS = 10.0
"""Robust standard deviations above the median at which a step sticks out. None of the 1268 steps in the logs
of 21 real runs (fp32, bf16, int8, nf4) was above both this and the floors below."""

LOSS_FLOOR = 2.0
"""Nats per token that a spike of the loss is above the median, at least: where a run has learned its rows
nearly by heart, a single hard one is far off the others, and harmless."""

NORM_FLOOR = math.log(10.0)
"""The same of the logarithm of the gradient's norm: ten times the median."""

MAD_TO_DEVIATION = 1.4826
"""A normal distribution's standard deviation over its MAD."""

MOST_REFUSED_IN_A_ROW = 10
"""Steps in a row that changed nothing after which a run has diverged, or has no rows to hear."""

MOST_ROLLBACKS = 2
"""How often a run that diverged goes back to a checkpoint before it gives up."""

ROLLBACK_FACTOR = 0.5
"""The learning rate is multiplied by this each time."""


def refusal(state: RunState, *, loss: float, grad_norm: float, tokens: float, spikes: bool) -> Refusal | None:
    """Return why a step is left out, None for one to take.

    Args:
        state: Where the run stands, with the numbers of the last steps taken.
        loss: Mean over the step's target tokens.
        grad_norm: Before clipping.
        tokens: Target tokens of the step.
        spikes: Whether spikes are left out.

    Example:
        >>> state = RunState(recent_losses=[0.5, 0.6] * 10, recent_norms=[1.0, 2.0] * 10)
        >>> [refusal(state, loss=loss, grad_norm=1.0, tokens=9, spikes=True) for loss in (0.9, 4.0)]
        [None, 'spike']
    """
    if not tokens:
        return "nothing-heard"
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        return "not-finite"
    norms = [_log(norm) for norm in state.recent_norms]
    sticks_out = _sticks_out(loss, state.recent_losses, LOSS_FLOOR) or _sticks_out(
        _log(grad_norm), norms, NORM_FLOOR
    )
    return "spike" if spikes and sticks_out else None


def remember(state: RunState, *, loss: float, grad_norm: float) -> None:
    """Note the numbers of a step that was taken."""
    state.recent_losses = [*state.recent_losses, loss][-HISTORY:]
    state.recent_norms = [*state.recent_norms, grad_norm][-HISTORY:]


def _sticks_out(value: float, history: Sequence[float], floor: float) -> bool:
    if len(history) < LEAST_HISTORY:
        return False
    median = statistics.median(history)
    deviation = MAD_TO_DEVIATION * statistics.median(abs(one - median) for one in history)
    return value > median + max(DEVIATIONS * deviation, floor)


def _log(norm: float) -> float:
    return math.log(max(norm, 1e-12))


class DivergedError(Exception):
    """Too many steps in a row were left out; not for users, who get the `error` of it.

    Args:
        refusal: Why the last of them was.
    """

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(f"{MOST_REFUSED_IN_A_ROW} steps in a row were left out ({refusal})")

    def may_go_back(self, state: RunState) -> bool:
        """Tell whether a lower learning rate may help."""
        return self.refusal != "nothing-heard" and state.rollbacks < MOST_ROLLBACKS

    def error(self, state: RunState, learning_rate: float) -> WhisperPeftError:
        """Return what the user is told."""
        if self.refusal == "nothing-heard":
            counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(state.skipped.items()))
            return DataError(
                f"no recording of the last {MOST_REFUSED_IN_A_ROW} steps can be used",
                f"left out so far: {counts}",
                "mend the recordings of data.train",
            )
        what = "has not been finite" if self.refusal == "not-finite" else "has been far above all before"
        went_back = f", though it went back {state.rollbacks} times" if state.rollbacks else ""
        return TrainingError(
            f"the loss {what} for {MOST_REFUSED_IN_A_ROW} steps (step {state.step})",
            f"the run has diverged{went_back}",
            f"lower train.learning_rate ({learning_rate:g}) and start again",
        )


def count_refused(state: RunState, reason: Refusal, *, loss: float, grad_norm: float) -> None:
    """Count a step that was left out.

    Raises:
        DivergedError: If it is one too many in a row.
    """
    state.refused_updates += 1
    state.refused_in_a_row += 1
    if reason == "spike":
        state.spikes += 1
        told = "step %d is left out: its loss %.3g or gradient norm %.3g is far above the last %d steps"
        logger.warning(told, state.step + 1, loss, grad_norm, len(state.recent_losses))
    if state.refused_in_a_row >= MOST_REFUSED_IN_A_ROW:
        raise DivergedError(reason)


def carry_over(before: RunState, after: RunState) -> None:
    """Keep the counts of a run that goes back to a checkpoint."""
    after.rollbacks = before.rollbacks + 1
    after.refused_updates, after.spikes = before.refused_updates, before.spikes
    after.train_seconds, after.wait_seconds = before.train_seconds, before.wait_seconds
    after.micro_batch_parts = before.micro_batch_parts
