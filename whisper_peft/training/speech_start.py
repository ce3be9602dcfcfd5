"""EVA's start, found in the speech of a run's first steps."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator

from whisper_peft.data.batches.collation import Batch
from whisper_peft.model.adapters.inputs import InputMoments
from whisper_peft.training.checkpoints import RunState
from whisper_peft.training.gradients import Gradients

EVA_STEPS = 16
"""Steps whose speech is heard; with 8 utterances of 5 s in each, some thirty thousand positions."""


def start_at_speech(
    gradients: Gradients, steps: Generator[tuple[Batch, ...], None, None], state: RunState
) -> None:
    """Let LoRA start in the directions of the first steps' speech, as all processes together hear it.

    Args:
        gradients: Runs the model forward.
        steps: The micro-batches of each step; closed at the end.
        state: That of a run that has taken no step.
    """
    moments = InputMoments(gradients.module.model)
    with contextlib.closing(steps), moments.collecting():
        for batches in itertools.islice(steps, EVA_STEPS):
            gradients.hear(batches, state)
    moments.sums = gradients.accelerator.reduce(moments.sums)
    moments.start()
