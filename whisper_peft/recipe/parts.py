"""The parts that recipes are made of; each takes the fields of its section as keyword arguments.

A part sets what it is given and leaves the rest, so that the values of earlier parts and the defaults stay.
The arguments' names, types and defaults are those of `whisper_peft.recipe.sections`: type checkers and
`help` read them from there.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from pydantic import ValidationError

from whisper_peft.recipe.compose import Part
from whisper_peft.recipe.overrides import apply_overrides, recipe_error
from whisper_peft.recipe.sections import (
    AdapterSection,
    AugmentSection,
    DataSection,
    EvalSection,
    MergeSection,
    MixedSource,
    ModelSection,
    Recipe,
    Section,
    TargetSection,
    TrainSection,
)

REPLAY_SHARE = 0.1
"""Share of an epoch's rows that a replay takes unasked."""

P = ParamSpec("P")
S = TypeVar("S", bound=Section)


def _takes_fields(name: str, section: Callable[P, S]) -> Callable[[Callable[[S], Part]], Callable[P, Part]]:
    """Give a function of a section the keyword arguments of that section's constructor."""

    def decorate(function: Callable[[S], Part]) -> Callable[P, Part]:
        @functools.wraps(function)
        def part(*args: P.args, **fields: P.kwargs) -> Part:
            try:
                given = section(*args, **fields)
            except ValidationError as error:
                raise recipe_error(error, section=name) from None
            return function(given)

        part.__dict__["__signature__"] = inspect.signature(section).replace(return_annotation=Part)
        return part

    return decorate


def _takes_first(
    name: str, field: str, section: Callable[P, S]
) -> Callable[[Callable[[S], Part]], Callable[Concatenate[Any, P], Part]]:
    """Do as `_takes_fields`, with one field as the positional first argument."""

    def decorate(function: Callable[[S], Part]) -> Callable[Concatenate[Any, P], Part]:
        by_keyword = _takes_fields(name, section)(function)

        @functools.wraps(by_keyword)
        def part(first: Any, /, *args: P.args, **fields: P.kwargs) -> Part:
            return by_keyword(*args, **{field: first, **fields})

        signature = inspect.signature(by_keyword)
        parameters = dict(signature.parameters)
        ahead = parameters.pop(field).replace(
            kind=inspect.Parameter.POSITIONAL_ONLY, default=inspect.Parameter.empty
        )
        part.__dict__["__signature__"] = signature.replace(parameters=[ahead, *parameters.values()])
        return part

    return decorate


def _setting(overrides: dict[str, Any]) -> Part:
    def part(recipe: Recipe) -> Recipe:
        return apply_overrides(recipe, overrides)

    return part


mixed_source: Callable[..., MixedSource] = MixedSource
"""For type checkers: the source comes first, so it is not asked for by keyword."""


def _adding(source: MixedSource) -> Part:
    def part(recipe: Recipe) -> Recipe:
        return apply_overrides(recipe, {"data.mix": (*recipe.data.mix, source)})

    return part


@_takes_first("model", "name", ModelSection)
def whisper(section: ModelSection) -> Part:
    """Choose the Whisper to tune, by the name that `model.name` takes.

    Example:
        >>> recipe = whisper("openai/whisper-small", language="en")(Recipe())
        >>> recipe.model.name, recipe.model.language
        ('openai/whisper-small', 'en')
    """
    return _setting({"model": section})


def int8() -> Part:
    """Hold the frozen weights in 8 bits.

    Example:
        >>> int8()(Recipe()).model.quantize
        'int8'
    """
    return _setting({"model.quantize": "int8"})


def nf4() -> Part:
    """Hold the frozen weights in 4 bits (QLoRA's NormalFloat).

    Example:
        >>> nf4()(Recipe()).model.quantize
        'nf4'
    """
    return _setting({"model.quantize": "nf4"})


@_takes_fields("data", DataSection)
def librispeech(section: DataSection) -> Part:
    """Learn from LibriSpeech: streamed from the Hub, or from the `source` given.

    Example:
        >>> librispeech(train="train.clean.360")(Recipe()).data.source
        'openslr/librispeech_asr'
    """
    return _setting({"data.source": "openslr/librispeech_asr", "data": section})


@_takes_first("data", "source", DataSection)
def speech(section: DataSection) -> Part:
    """Learn from any speech: a Hub name, a path, or an iterable of utterances or rows.

    Example:
        >>> speech("recordings/metadata.jsonl", eval="test")(Recipe()).data.eval
        'test'
    """
    return _setting({"data": section})


@_takes_first("data.mix", "source", mixed_source)
def mix(section: MixedSource) -> Part:
    """Learn from another source too, beside those that were given before.

    Example:
        >>> recipe = mix("speech/en", weight=0.25, language="en")(speech("speech/fr")(Recipe()))
        >>> [(source.source, source.weight) for source in recipe.data.mix]
        [('speech/en', 0.25)]
    """
    return _adding(section)


@_takes_first("data.mix", "source", mixed_source)
def replay(section: MixedSource) -> Part:
    """Hear some of another corpus or language again, so that it is not forgotten; a tenth unless told.

    Example:
        >>> replay("LibriSpeech", language="en")(Recipe()).data.mix[0].share
        0.1
    """
    if section.share is None and section.weight is None:
        section = section.model_copy(update={"share": REPLAY_SHARE})
    return _adding(section)


@_takes_fields("augment", AugmentSection)
def augment(section: AugmentSection) -> Part:
    """Vary the speech before the model hears it.

    Example:
        >>> from whisper_peft.recipe.sections import Speed
        >>> augment(speed=Speed(p=0.5))(Recipe()).augment.speed.factors
        (0.9, 1.1)
    """
    return _setting({"augment": section})


@_takes_fields("targets", TargetSection)
def targets(section: TargetSection) -> Part:
    """Learn timestamps, previous text, silence or long windows beside plain text.

    Example:
        >>> targets(timestamps=0.5)(Recipe()).targets.timestamps
        0.5
    """
    return _setting({"targets": section})


@_takes_fields("adapter", AdapterSection)
def lora(section: AdapterSection) -> Part:
    """Learn low-rank updates and leave the weights as they are.

    Example:
        >>> lora(r=8, lora_alpha=16)(Recipe()).adapter.r
        8
    """
    return _setting({"adapter": section, "adapter.method": "lora"})


@_takes_fields("adapter", AdapterSection)
def adapter(section: AdapterSection) -> Part:
    """Choose what learns by its method: lora, adalora, ia3, vera or full.

    Example:
        >>> adapter(method="vera", r=256)(Recipe()).adapter.method
        'vera'
    """
    return _setting({"adapter": section})


def full() -> Part:
    """Learn every weight.

    Example:
        >>> full()(Recipe()).adapter.method
        'full'
    """
    return _setting({"adapter.method": "full"})


@_takes_fields("train", TrainSection)
def schedule(section: TrainSection) -> Part:
    """Set how to learn: how long, how fast, in which batches.

    Example:
        >>> schedule(max_steps=1000, learning_rate=1e-3)(Recipe()).train.max_steps
        1000
    """
    return _setting({"train": section})


@_takes_fields("eval", EvalSection)
def scoring(section: EvalSection) -> Part:
    """Set how to score, before, during and after training.

    Example:
        >>> scoring(steps=100, max_utterances=200)(Recipe()).eval.steps
        100
    """
    return _setting({"eval": section})


@_takes_fields("merge", MergeSection)
def merging(section: MergeSection) -> Part:
    """Set whether and how the adapter is folded into the weights.

    Example:
        >>> merging(enabled=False)(Recipe()).merge.enabled
        False
    """
    return _setting({"merge": section})
