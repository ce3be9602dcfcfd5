"""What a look through speech is to take in: the splits of a source, and of those that are mixed in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from whisper_peft.data.sources.descriptions import describe
from whisper_peft.data.sources.mixed_sources import open_mixed, open_mixed_splits, section_of
from whisper_peft.data.sources.opening import Source, open_split, open_splits
from whisper_peft.data.sources.source_names import mixed_names
from whisper_peft.data.splits import Role
from whisper_peft.data.survey.survey import SurveyedSplit
from whisper_peft.errors import RecipeError
from whisper_peft.pipeline.runs.run_folder import RECIPE_FILE
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import DataSection, MixedSource, Recipe
from whisper_peft.recipe.yaml_files import read_recipe

Overrides: TypeAlias = Mapping[str, Any]

ROLES: tuple[Role, ...] = ("train", "eval", "dev")

MIXED_ROLES: tuple[Role, ...] = ("train", "eval")

YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class InspectedSplit:
    """A split to look through.

    Attributes:
        rows: Its rows.
        split: Its name, and whether it is scored.
        section: How its source is read.
    """

    rows: Source
    split: SurveyedSplit
    section: DataSection


@dataclass(frozen=True)
class ToInspect:
    """What is to be looked through.

    Attributes:
        recipe: Bounds of durations, language and task, and the sources.
        named: Splits of the main source that are to be looked at, by their purpose; empty for all.
        file: The recipe's file, where the sources are a recipe's.
    """

    recipe: Recipe
    named: Collection[Role]
    file: Path | None = None

    @classmethod
    def of(cls, source: Any, *, data: Overrides, model: Overrides, run: str | Path | None) -> ToInspect:
        """Return what a source stands for, or a recipe: its own sources and splits.

        Raises:
            RecipeError: If a field is unknown or has a bad value, or `run` is no run folder.
        """
        given = {"data": dict(data), "model": dict(model)}
        if isinstance(source, str | Path) and Path(source).suffix in YAML:
            recipe = apply_overrides(read_recipe(Path(source)), given)
            return cls(recipe, [role for role in ROLES if role in recipe.data.model_fields_set], Path(source))
        speech = {"mix": (), "corrections": None, **data, "source": source}
        recipe = apply_overrides(_recipe_of(run), {**given, "data": speech})
        return cls(recipe, [role for role in ROLES if data.get(role) is not None])

    def splits(self) -> list[InspectedSplit]:
        """Open every split, those that are scored first.

        Raises:
            DataError: If a source or a split is missing.
            RecipeError: If two sources have one name.
        """
        data = self.recipe.data
        found: dict[tuple[str | None, str], InspectedSplit] = {}
        for one in _main_splits(data, self.named):
            found[None, one.split.name] = one
        names = mixed_names(data.mix)
        for place, mixed in enumerate(data.mix):
            section = section_of(mixed, data)
            for rows, split in _mixed_splits(data, place, names[place]):
                found[split.source, split.name] = InspectedSplit(rows, split, section)
        return sorted(found.values(), key=lambda one: not one.split.is_scored)

    def sources(self) -> Iterator[tuple[str | None, DataSection]]:
        """Yield the name of each source, None of the main one, and how it is read."""
        data = self.recipe.data
        yield None, data
        for name, mixed in zip(mixed_names(data.mix), data.mix, strict=True):
            yield name, section_of(mixed, data)

    def described(self, name: str | None, section: DataSection) -> tuple[str, str | None]:
        """Return what a source is, and the command to learn from all, beside the main one."""
        what, command = _described(section)
        if self.file is not None:
            command = f"whisper-peft finetune {self.file}"
        elif self.recipe.data.mix:
            command = None
        return what, command if name is None else None


def _main_splits(data: DataSection, named: Collection[Role]) -> Iterator[InspectedSplit]:
    if not named:
        for rows in open_splits(data):
            yield InspectedSplit(rows, SurveyedSplit.named(rows.split), data)
    for role in (role for role in ROLES if role in named):
        rows = open_split(data, role)
        yield InspectedSplit(rows, SurveyedSplit(rows.split, role != "train"), data)


def _mixed_splits(main: DataSection, place: int, name: str) -> Iterator[tuple[Source, SurveyedSplit]]:
    """Open what a run would take of a source where it names a split, or says that it takes none; else all."""
    mixed = main.mix[place]
    if not mixed.model_fields_set & {*MIXED_ROLES}:
        for rows in open_mixed_splits(main, place):
            yield rows, SurveyedSplit.named(rows.split, name)
    for role in _roles_taken(mixed):
        rows = open_mixed(main, place, role)
        yield rows, SurveyedSplit(rows.split, role != "train", name)


def _roles_taken(mixed: MixedSource) -> Sequence[Role]:
    if not mixed.model_fields_set & {*MIXED_ROLES}:
        return ()
    return [role for role in MIXED_ROLES if getattr(mixed, role) is not None]


def _recipe_of(run: str | Path | None) -> Recipe:
    file = None if run is None else Path(run) / RECIPE_FILE
    if file is None:
        return Recipe()
    if not file.is_file():
        raise RecipeError(
            f"{run} is no run folder", f"it has no {RECIPE_FILE}", "give --run the folder of a run"
        )
    return read_recipe(file)


def _described(section: DataSection) -> tuple[str, str | None]:
    source = section.source
    if not isinstance(source, str | Path):
        return f"speech in memory ({type(source).__name__})", None
    path = Path(source).expanduser()
    if not path.exists():
        return f"{source}, streamed from the Hub", None
    found = describe(path, section)
    return found.sentence, found.command
