"""Augmented speech to hear and to see: for a run's page, and for a page of its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from whisper_peft.data.effects.augmentation import build_augmentation
from whisper_peft.data.effects.augmentation_gallery import MASKS, AugmentationDraws, Example, Gallery, hang
from whisper_peft.data.sources.opening import open_split
from whisper_peft.data.survey.clips import encode_small_clip
from whisper_peft.errors import RecipeError, WhisperPeftError
from whisper_peft.model.blueprint import sketch
from whisper_peft.model.log_mel import LogMel
from whisper_peft.pipeline.runs.run_folder import RECIPE_FILE
from whisper_peft.recipe.catalog import resolve_recipe
from whisper_peft.recipe.overrides import given_overrides
from whisper_peft.recipe.sections import Recipe
from whisper_peft.reporting.figures import share
from whisper_peft.reporting.pages.augmentation_page import write_augmentation_page
from whisper_peft.reporting.pages.recordings import shaded_picture, spectrogram_picture
from whisper_peft.reporting.values.augmentation_values import (
    AugmentationRecord,
    EffectFigures,
    ShownExample,
    ShownSound,
    SoundClip,
    SoundClips,
)
from whisper_peft.training.loss import masked_with_mean
from whisper_peft.types import SAMPLING_RATE, Utterance, Waveform

ROWS = 200
"""Rows that utterances are chosen from; of a stream no more is read."""

RUN_EXAMPLES, PAGE_EXAMPLES = 3, 8
"""Utterances in the report of a run, and on a page of their own."""

RUN_BYTES, PAGE_BYTES = 3 << 19, 12 << 20
"""Bytes of MP3 and PNG in either; written as text they take a third more."""

MEL_LEVELS = 2.0
"""Span of Whisper's log-mel features, which are cut at that far below the loudest."""


def show_augmentations(
    recipe: str | Path | Recipe,
    *,
    data: Mapping[str, Any] | None = None,
    augment: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    output_dir: str | Path | None = None,
) -> AugmentationRecord:
    """Show what a recipe's augmentations make of its speech, with the draws that its run will make, or made.

    Args:
        recipe: A recipe, the name of one, its YAML file, or a run folder.
        data: Fields of the section to override. So for the other sections.
        augment: Overrides, such as `{"noise": {"p": 1, "source": "noises"}}`.
        model: Overrides.
        train: Overrides, such as `{"seed": 7}`.
        output_dir: Folder for augmentations.html, with sounds and pictures, and augmentations.json. None:
            neither is written.

    Raises:
        RecipeError: If the recipe augments nothing, or a setting is wrong.
        DataError: If the speech, or a folder of noise or rooms, cannot be used.

    Example:
        >>> shown = show_augmentations("runs/mine", output_dir="heard")  # doctest: +SKIP
        >>> print(shown.text())  # doctest: +SKIP
    """
    overrides = given_overrides(data=data, augment=augment, model=model, train=train)
    is_run = not isinstance(recipe, Recipe) and (Path(recipe) / RECIPE_FILE).is_file()
    chosen = resolve_recipe(Path(str(recipe)) / RECIPE_FILE if is_run else recipe, overrides)
    found = augmented_speech(chosen, examples=PAGE_EXAMPLES, budget=PAGE_BYTES)
    if found is None:
        raise RecipeError(
            "the recipe augments nothing",
            "the probability of every augmentation is 0",
            "give one, such as --augment.speed.p 1 --augment.spec-augment.p 1",
        )
    if output_dir is not None:
        write_augmentation_page(found.record, found.clips, Path(output_dir))
    return found.record


@dataclass(frozen=True)
class AugmentedSpeech:
    """What is told of a few augmented utterances, and what can be heard and seen of them."""

    record: AugmentationRecord
    clips: SoundClips


def run_augmentations(recipe: Recipe) -> AugmentedSpeech | None:
    """Return what a run's page shows; a source that has gone leaves a note. None: nothing is augmented."""
    try:
        return augmented_speech(recipe, examples=RUN_EXAMPLES, budget=RUN_BYTES)
    except (WhisperPeftError, OSError) as error:
        note = f"The augmented speech cannot be heard here: {error}"
        return AugmentedSpeech(AugmentationRecord(recipe.train.seed, 0, notes=(note,)), {})


def augmented_speech(recipe: Recipe, *, examples: int, budget: int) -> AugmentedSpeech | None:
    """Return what augmentation makes of a few training rows; None where the recipe has none.

    Args:
        recipe: The recipe.
        examples: Utterances to show at most.
        budget: Bytes of sounds and pictures.

    Raises:
        WhisperPeftError: If the speech or a setting cannot be used.
    """
    draws = draws_of(recipe)
    if not draws.names:
        return None
    rows = tuple(itertools.islice(_usable(recipe), ROWS))
    epochs = max(1, math.ceil(recipe.train.epochs)) if recipe.train.max_steps is None else 1
    gallery = hang(draws, rows, epochs=epochs, most=examples)
    rendered = [list(_sounds(one, draws)) for one in gallery.examples]
    clips: dict[tuple[int, int], SoundClip] = {}
    room = budget
    for example, sounds in enumerate(rendered):
        for place, (_, clip) in enumerate(sounds):
            room -= clip.size
            if room >= 0:
                clips[example, place] = clip
    shown = tuple(
        ShownExample(one.id, one.epoch, tuple(sound for sound, _ in sounds))
        for one, sounds in zip(gallery.examples, rendered, strict=True)
    )
    effects = {name: EffectFigures(p, gallery.happened[name]) for name, p in gallery.probabilities.items()}
    notes = tuple(_notes(gallery, sum(map(len, rendered)) - len(clips), budget))
    return AugmentedSpeech(AugmentationRecord(draws.seed, gallery.rows, effects, shown, notes), clips)


def draws_of(recipe: Recipe) -> AugmentationDraws:
    """Return what a recipe's training draws; of the model no more than its sizes is read.

    Raises:
        WhisperPeftError: If a setting is wrong, or the model is not known.
    """
    return AugmentationDraws(
        build_augmentation(recipe.augment),
        recipe.augment.spec_augment,
        recipe.train.seed,
        int(sketch(recipe.model.name).config.num_mel_bins),
    )


def _usable(recipe: Recipe) -> Iterator[Utterance]:
    section = recipe.data
    for row in open_split(section, "train"):
        if row.duration_s is None or section.min_duration_s <= row.duration_s <= section.max_duration_s:
            yield row


def _sounds(example: Example, draws: AugmentationDraws) -> Iterator[tuple[ShownSound, SoundClip]]:
    """Yield everything that an utterance is shown as."""
    yield _heard("dry", "", example.dry)
    for change in example.alone:
        yield _heard(change.name, change.told, change.waveform)
    if len(example.alone) > 1:
        yield _heard("together", "", example.together)
    if example.keep is not None:
        seconds = len(example.together) / SAMPLING_RATE
        plain, masked = masked_pictures(example, draws.num_mel_bins)
        yield ShownSound("log_mel", "", seconds), SoundClip(picture=plain)
        told = f"{share(example.hidden_share)} of the cells hidden"
        yield ShownSound(MASKS, told, seconds), SoundClip(picture=masked)


def _heard(name: str, told: str, waveform: Waveform) -> tuple[ShownSound, SoundClip]:
    sound = ShownSound(name, told, len(waveform) / SAMPLING_RATE)
    return sound, SoundClip(encode_small_clip(waveform), spectrogram_picture(waveform))


def masked_pictures(example: Example, num_mel_bins: int) -> tuple[bytes, bytes]:
    """Return the log-mel spectrogram of an augmented utterance as it is, and as the masks leave it."""
    assert example.keep is not None
    frames = example.keep.shape[1]
    features = LogMel(num_mel_bins)(torch.from_numpy(example.together)[None], frames=frames)[0]
    masked = masked_with_mean(features, torch.from_numpy(example.keep), frames)
    floor = float(features.max()) - MEL_LEVELS
    plain, hidden = ((one.numpy() - floor) / MEL_LEVELS for one in (features, masked))
    return shaded_picture(plain), shaded_picture(hidden)


def _notes(gallery: Gallery, left_out: int, budget: int) -> Iterator[str]:
    if not gallery.rows:
        yield "No training row could be heard."
    elif gallery.missing:
        named = ", ".join(gallery.missing)
        yield f"Not shown, as it happened to none of the rows that were looked at, or room ran out: {named}."
    if left_out:
        yield f"{left_out} sounds are left out: the page holds at most {budget / 2**20:g} MiB of them."
