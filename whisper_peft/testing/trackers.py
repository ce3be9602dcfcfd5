"""What every tracker promises: it listens, and changes nothing of the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from whisper_peft.deploy.export_record import tensor_digests
from whisper_peft.deploy.weights import source_weights
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import Recipe, TrainSection
from whisper_peft.testing.promises import global_states, promise
from whisper_peft.training.events import Callback, Event
from whisper_peft.training.trackers import Tracker, open_trackers
from whisper_peft.types import EvalResult

_SCORES = EvalResult(
    wer=0.25,
    cer=0.1,
    wer_raw=0.3,
    cer_raw=0.15,
    wer_interval=(0.2, 0.3),
    utterances=100,
    normalizer="basic",
    language="en",
    audio_context="full",
    rtfx=10.0,
    peak_memory_bytes=2**30,
    substitutions=20,
    deletions=3,
    insertions=2,
    hits=77,
)
"""What an evaluation may have found."""


def check_tracker(tracker: Tracker, whisper: Whisper, *, recipe: Recipe | None = None) -> None:
    """Check that a tracker can listen to a run, and to the rest of one that was stopped.

    It returns a callable that takes every kind of event and returns nothing that a log cannot hold; it leaves
    the model and the numbers as they were and draws from no global generator, for a run resumes to the bit;
    and it can be made again in the folder of a run that goes on.

    Args:
        tracker: A callable `(recipe, folder) -> callback`.
        whisper: A model, such as that of `small_whisper`.
        recipe: What it is told of the run. None: the default one.

    Raises:
        AssertionError: With the first promise that is broken.
    """
    recipe = recipe or Recipe()
    recipe = recipe.model_copy(update={"train": TrainSection(trackers=(tracker,))})
    before = tensor_digests(source_weights(whisper))
    with TemporaryDirectory() as folder:
        _listen(_opened(recipe, Path(folder)), _events(whisper, first_step=0))
        _listen(_opened(recipe, Path(folder)), _events(whisper, first_step=2))
    promise(tensor_digests(source_weights(whisper)) == before, "a tracker changed the model's weights")


def _opened(recipe: Recipe, folder: Path) -> Callback:
    try:
        (callback,) = open_trackers(recipe, folder)
    except Exception as error:
        raise AssertionError(f"a tracker makes no listener: {error!r}") from error
    return callback


def _events(whisper: Whisper, *, first_step: int) -> Iterator[Event]:
    """Yield what happens in a run of two steps, in order."""
    row = {"loss": 1.5, "learning_rate": 3e-4}
    last = first_step + 2
    yield Event("start", first_step, last, {}, whisper)
    yield Event("step", first_step + 1, last, row, whisper)
    yield Event("step", last, last, row, whisper)
    yield Event("evaluation", last, last, {"wer": 0.25, "cer": 0.1}, whisper, _SCORES)
    yield Event("checkpoint", last, last, {"path": f"checkpoints/step-{last}"}, whisper)
    yield Event("end", last, last, {}, whisper)


def _listen(callback: Callback, events: Iterator[Event]) -> None:
    for event in events:
        row, state = dict(event.row), global_states()
        try:
            answer = callback(event)
        except Exception as error:
            raise AssertionError(f"a tracker stopped at the event {event.kind!r}: {error!r}") from error
        promise(dict(event.row) == row, f"a tracker changed the numbers of the event {event.kind!r}")
        drew = f"a tracker drew from a global generator at {event.kind!r}: use one of its own"
        promise(global_states() == state, drew)
        _check_answer(answer, event.kind)


def _check_answer(answer: object, kind: str) -> None:
    numbers = answer.values() if isinstance(answer, Mapping) else ()
    fits = answer is None or isinstance(answer, bool | Mapping)
    promise(fits, f"a tracker answered {kind!r} with a {type(answer).__name__}: give None, True or numbers")
    are_numbers = all(isinstance(number, int | float) for number in numbers)
    promise(are_numbers, f"a tracker answered {kind!r} with what is no number: no log can hold it")
