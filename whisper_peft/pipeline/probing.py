"""The probes of a run or an evaluation, where a recipe asks for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from accelerate import Accelerator

from whisper_peft.evaluation.probes.suite import run_probes
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import Recipe
from whisper_peft.training.processes import on_main_process
from whisper_peft.types import EvalResult, Utterance


def with_probes(
    result: EvalResult,
    whisper: Whisper,
    utterances: Iterable[Utterance],
    *,
    recipe: Recipe,
    accelerator: Accelerator,
) -> EvalResult:
    """Return scores with what the probes measure on the same split, where `eval.probes` asks for them.

    The main process measures, and the others wait for it.
    """
    if not recipe.eval.probes:
        return result
    probes = on_main_process(
        accelerator,
        lambda: run_probes(
            whisper,
            utterances,
            section=recipe.eval,
            language=recipe.model.language,
            task=recipe.model.task,
        ),
    )
    return replace(result, probes=probes)
