"""What both models hear for a health check: sounds, the scored speech joined, and other speech."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.sources.mixed_sources import NamedSource, open_mixed
from whisper_peft.data.sources.opening import Source
from whisper_peft.data.survey.transcript_survey import sentence_digest
from whisper_peft.data.targets.labels import told_language
from whisper_peft.data.targets.no_speech import Quiet
from whisper_peft.errors import AudioError, DataError
from whisper_peft.evaluation.evaluator import draw_evenly
from whisper_peft.evaluation.health.brought_speech import (
    BROUGHT_LANGUAGES,
    brought_languages,
    brought_name,
    brought_speech,
)
from whisper_peft.evaluation.health.budgets import Budget
from whisper_peft.evaluation.health.hearing import Material
from whisper_peft.evaluation.health.sounds import sound_clips
from whisper_peft.evaluation.probes.stitched import stitch_recordings, stitch_windows
from whisper_peft.recipe.overrides import recipe_error
from whisper_peft.recipe.sections import MixedSource, Recipe
from whisper_peft.types import WINDOW_S, Utterance

RECORDING_S = 60.0
"""Long recordings last from here on, up to an utterance more."""

SPEECH_A_WINDOW = 12
"""Utterances that are opened for each window, so that enough short ones are joined."""

LEAST_BROUGHT = 4
"""Of fewer utterances that the run neither learned nor scored nothing is told."""


@dataclass(frozen=True)
class Gathered:
    """What both models hear, and why something is not heard.

    Attributes:
        material: The speech and the sounds.
        joined: What speech was joined to windows and recordings, where it is not the scored one.
        missing: Reasons, by the name of other speech.
    """

    material: Material
    joined: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)


def gather(
    recipe: Recipe,
    scored: Source | None,
    *,
    budget: Budget,
    multilingual: bool,
    retention: NamedSource | None,
    with_brought: bool,
    known: Collection[bytes],
) -> Gathered:
    """Open and decode the material.

    Args:
        recipe: The run's.
        scored: The scored split; None where it cannot be opened.
        budget: How much is heard.
        multilingual: Whether the model is told the language.
        retention: Other speech that somebody named.
        with_brought: Whether the speech that the package brings is heard.
        known: Digests of sentences that the run learned or scored: they are no other speech.

    Raises:
        DataError: If a language is unknown, missing, or not one that the checkpoint is told, or
            `eval.no_speech_source` cannot be used.
    """
    drawn = () if scored is None else _some(scored, budget, recipe)
    rows = list(_decoded(drawn, recipe, multilingual))
    other: dict[str, list[Utterance]] = {}
    missing: dict[str, str] = {}
    if retention is not None:
        named = draw_evenly(retention, budget.named)
        other[retention.label] = list(_decoded(named, recipe, multilingual))
    if with_brought:
        _add_brought(other, missing, _code(recipe, multilingual), budget, known, multilingual=multilingual)
    rows, joined = _to_join(rows, _code(recipe, multilingual))
    sounds = sound_clips(budget.sounds, Quiet.of(recipe.eval.no_speech_source, "eval.no_speech_source"))
    material = Material(
        retention=other,
        sounds=sounds,
        windows=stitch_windows(rows)[: budget.windows],
        recordings=stitch_recordings(rows, RECORDING_S)[: budget.recordings],
    )
    return Gathered(material, joined, missing)


def _to_join(rows: list[Utterance], language: str | None) -> tuple[list[Utterance], str]:
    """Return what is joined: the scored rows, or what the package brings where those are under a minute."""
    seconds = sum(row.duration_s or 0.0 for row in rows)
    if seconds >= RECORDING_S or language not in BROUGHT_LANGUAGES:
        return rows, ""
    return [decode(row) for row in brought_speech(language)], brought_name(language)


def open_retention(recipe: Recipe, fields: Mapping[str, Any] | None) -> NamedSource | None:
    """Open other speech that somebody named; None where nobody did.

    Raises:
        RecipeError: If a field is unknown or has an unfit value.
        DataError: If the source or its split is missing.
    """
    if fields is None:
        return None
    try:
        mixed = MixedSource.model_validate({**fields, "train": None})
    except ValidationError as error:
        raise recipe_error(error, origin="retention") from None
    return open_mixed(recipe.data.model_copy(update={"mix": (mixed,)}), 0, "eval")


def _some(scored: Source, budget: Budget, recipe: Recipe) -> Iterable[Utterance]:
    """Return some of the scored rows: of a stream the first, else evenly drawn."""
    most = SPEECH_A_WINDOW * (budget.windows + budget.recordings)
    most = min(most, recipe.eval.max_utterances or most)
    return itertools.islice(scored, most) if scored.is_stream else draw_evenly(scored, most)


def _decoded(rows: Iterable[Utterance], recipe: Recipe, multilingual: bool) -> Iterator[Utterance]:
    """Yield rows that fit Whisper's window and the recipe's task, with their audio and language."""
    for row in rows:
        if (row.task or recipe.model.task) != recipe.model.task:
            continue
        spoken = told_language(row.language or recipe.model.language, multilingual=multilingual)
        with suppress(AudioError):
            decoded = replace(decode(row), language=spoken)
            if (decoded.duration_s or 0.0) <= WINDOW_S:
                yield decoded


def _code(recipe: Recipe, multilingual: bool) -> str | None:
    """Return the code of the run's language; None where each row has its own."""
    with suppress(DataError):
        return told_language(recipe.model.language, multilingual=multilingual)
    return None


def _add_brought(
    other: dict[str, list[Utterance]],
    missing: dict[str, str],
    language: str | None,
    budget: Budget,
    known: Collection[bytes],
    *,
    multilingual: bool,
) -> None:
    """Add the speech that the package brings, without what the run learned or scored itself."""
    for code in brought_languages(language, multilingual=multilingual)[: budget.brought]:
        name = brought_name(code)
        rows = [row for row in brought_speech(code) if sentence_digest(row.text) not in known]
        if len(rows) < LEAST_BROUGHT:
            missing[name] = "the run learned or scored the very speech that the package brings along"
        else:
            other[name] = [decode(row) for row in rows[: budget.prompts]]
