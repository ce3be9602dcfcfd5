"""What a run is expected to take, told in a line before its weights are loaded."""

from __future__ import annotations

from collections.abc import Callable

from whisper_peft.errors import TrainingError, WhisperPeftError
from whisper_peft.measuring import StageCost
from whisper_peft.model.blueprint import sketch
from whisper_peft.pipeline.forecasting import free_bytes, planner_of, this_machine, too_large
from whisper_peft.pipeline.material import look_at_speech
from whisper_peft.pipeline.runs.speech import Speech
from whisper_peft.recipe.sections import Recipe
from whisper_peft.reporting.figures import duration, memory
from whisper_peft.reporting.run_report import ForecastRecord
from whisper_peft.training.planning.planner import Forecast

HOPELESS = 1.5
"""A run that needs this many times the free memory is refused. Below that it is only warned of: the estimate
may be off by 15 %, other programs may end, and there may be swap."""


def expect(recipe: Recipe, speech: Speech, say: Callable[[str], None]) -> ForecastRecord | None:
    """Say what a run is expected to take; nothing of a stream, whose rows would be read twice.

    Whatever else is wrong with the run is left to those who do the work: they say it best.

    Args:
        recipe: What to do.
        speech: Its splits.
        say: Is told in a sentence.

    Raises:
        TrainingError: If there is no hope that it fits.
    """
    if speech.train.is_stream or speech.eval.is_stream:
        return None
    try:
        machine = this_machine(recipe.model)
        looked = look_at_speech(recipe, check_language=lambda row: None)
        forecast = planner_of(recipe, sketch(recipe.model.name), machine, looked.material).forecast()
    except WhisperPeftError:
        return None
    free = free_bytes(machine)
    if forecast.peak_memory_bytes > HOPELESS * free:
        todo = "whisper-peft check with the same words says what would fit"
        raise TrainingError(too_large(forecast, free), "it would be killed by the system", todo)
    say(_sentence(forecast, free))
    return _record(forecast)


def _sentence(forecast: Forecast, free: int) -> str:
    expected = f"{memory(forecast.peak_memory_bytes)} of memory and {duration(forecast.seconds)}"
    if forecast.peak_memory_bytes <= free:
        return f"expected: {expected}; {memory(free)} are free"
    return (
        f"expected: {expected}, and only {memory(free)} are free: "
        "the run may be killed; whisper-peft check says what would fit"
    )


def _record(forecast: Forecast) -> ForecastRecord:
    return ForecastRecord(
        peak_memory_bytes=forecast.peak_memory_bytes,
        seconds=forecast.seconds,
        step_seconds=forecast.step_seconds,
        stages={
            name: StageCost(stage.seconds, stage.memory_bytes) for name, stage in forecast.stages.items()
        },
    )
