"""`augmentations`: what a recipe's augmentations sound and look like."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro import MISSING
from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.commands.words import first_word
from whisper_peft.errors import RecipeError
from whisper_peft.flags import parse_command
from whisper_peft.recipe.catalog import find_recipe
from whisper_peft.recipe.overrides import apply_overrides, tree_of
from whisper_peft.recipe.sections import (
    AugmentSection,
    DataSection,
    ModelSection,
    Recipe,
    Section,
    TrainSection,
)
from whisper_peft.terminal import show


class AugmentationFields(Section):
    """The sections that augmentation depends on."""

    data: DataSection = DataSection()
    augment: AugmentSection = AugmentSection()
    model: ModelSection = ModelSection()
    train: TrainSection = TrainSection()


@dataclass(frozen=True)
class Augmentations:
    """Hear and see what a recipe's augmentations make of its speech, each by itself and all together."""

    recipe: Annotated[Positional[str], arg(metavar="RECIPE_OR_RUN")]
    """A named recipe (whisper-peft recipes list), a recipe's YAML file, or a run folder."""
    output_dir: Path | None = None
    """Folder for augmentations.html, with sounds and pictures, and augmentations.json."""
    fields: Annotated[AugmentationFields, arg(name="")] = field(default_factory=AugmentationFields)


def run_augmentations(words: list[str]) -> None:
    """Hear and see what a recipe's augmentations make of its speech."""
    named = first_word(words)
    if named is None and not {"--help", "-h"} & set(words):
        raise RecipeError("augmentations was given no recipe", "it comes first", "give one, or a run folder")
    recipe = _recipe(named) if named else Recipe()
    fields = AugmentationFields(**{name: getattr(recipe, name) for name in AugmentationFields.model_fields})
    default = Augmentations(MISSING, fields=fields)
    command, overrides = parse_command(default, words, prog="whisper-peft augmentations")
    apply_overrides(recipe, overrides)
    found = whisper_peft.show_augmentations(
        command.recipe, output_dir=command.output_dir, **tree_of(overrides)
    )
    show(found.text())
    if command.output_dir is not None:
        show(f"\n{command.output_dir / 'augmentations.html'}")


def _recipe(named: str) -> Recipe:
    written = Path(named) / "recipe.yaml"
    return find_recipe(written if written.is_file() else named)
