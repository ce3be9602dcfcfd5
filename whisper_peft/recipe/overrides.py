"""Change a recipe's fields by dotted or nested names, with every problem told at once in the user's words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from whisper_peft.errors import RecipeError, did_you_mean
from whisper_peft.recipe.sections import Recipe, Section

Tree = dict[str, Any]
"""Field values by name, one dictionary for each section."""


def apply_overrides(recipe: Recipe, overrides: Mapping[str, Any], *, origin: str = "") -> Recipe:
    """Return the recipe with some fields replaced; fields that nobody named stay defaults.

    Args:
        recipe: The recipe to start from; it does not change.
        overrides: Fields by section (`{"train": {"max_steps": 3}}`) or dotted (`{"train.max_steps": 3}`).
        origin: Where the overrides were read, put before the message of an error.

    Raises:
        RecipeError: If a name is unknown or a value unfit. All problems are in the one message.

    Example:
        >>> apply_overrides(Recipe(), {"train": {"max_steps": 3}, "model.quantize": "nf4"}).train.max_steps
        3
        >>> apply_overrides(Recipe(), {"train.max_steps": 0})
        Traceback (most recent call last):
            ...
        whisper_peft.errors.RecipeError: train.max_steps is 0 - it should be greater than or equal to 1 - ...
    """
    tree = merge_trees(explicit_fields(recipe), tree_of(overrides))
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise recipe_error(error, origin=origin) from None


def given_overrides(**parts: Any) -> dict[str, Any]:
    """Return the overrides that a caller gave: sections with fields, and values that are not None.

    Example:
        >>> given_overrides(train={"epochs": 1}, data=None, eval={}, output_dir=None)
        {'train': {'epochs': 1}}
    """
    return {name: value for name, value in parts.items() if value is not None and value != {}}


def explicit_fields(section: Section) -> Tree:
    """Return the fields that somebody named, by section, down to the values.

    Example:
        >>> from whisper_peft.recipe.sections import TrainSection
        >>> explicit_fields(Recipe(train=TrainSection(max_steps=3)))
        {'train': {'max_steps': 3}}
    """
    named = [name for name in type(section).model_fields if name in section.model_fields_set]
    values = {name: getattr(section, name) for name in named}
    return {name: explicit_fields(v) if isinstance(v, Section) else v for name, v in values.items()}


def tree_of(overrides: Mapping[str, Any], section: type[Section] = Recipe) -> Tree:
    """Return dotted names, section values and dictionaries as one tree.

    Example:
        >>> tree_of({"train.max_steps": 3, "train": {"seed": 1}})
        {'train': {'max_steps': 3, 'seed': 1}}
    """
    tree: Tree = {}
    for name, value in overrides.items():
        head, _, rest = str(name).partition(".")
        inner = subsection(section, head)
        branch: Any = {rest: value} if rest else value
        if isinstance(branch, Section):
            branch = explicit_fields(branch)
        elif inner is not None and isinstance(branch, Mapping):
            branch = tree_of(branch, inner)
        tree = merge_trees(tree, {head: branch})
    return tree


def merge_trees(base: Tree, changes: Tree) -> Tree:
    """Return the base with the changes laid over it, section by section.

    Example:
        >>> merge_trees({"train": {"seed": 1, "epochs": 2.0}}, {"train": {"seed": 5}})
        {'train': {'seed': 5, 'epochs': 2.0}}
    """
    merged = dict(base)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge_trees(merged[name], value) if both else value
    return merged


def subsection(section: type[Section], name: str) -> type[Section] | None:
    """Return the class of the section that a field holds, or None for a field that holds a value."""
    field = section.model_fields.get(name)
    kind = field.annotation if field else None
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def item_section(section: type[Section], name: str) -> type[Section] | None:
    """Return the class of the sections of which a field holds any number, or None for another field."""
    field = section.model_fields.get(name)
    kinds = get_args(field.annotation) if field else ()
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


def field_names(section: type[Section] = Recipe, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every field that holds a value.

    Example:
        >>> "augment.noise.snr_db" in field_names()
        True
    """
    for name in section.model_fields:
        inner = subsection(section, name)
        if inner is None:
            yield prefix + name
        else:
            yield from field_names(inner, f"{prefix}{name}.")


def suggest_field(name: str, known: Collection[str] = ()) -> str:
    """Return a sentence that suggests the field somebody may have meant.

    Args:
        name: The unknown name, dotted or not.
        known: The names there are. Empty: those of a recipe.

    Example:
        >>> suggest_field("max_steps")
        'did you mean train.max_steps?'
        >>> suggest_field("adapter.rank")
        'did you mean adapter.r? Known: adapter.config, ...'
    """
    known = known or tuple(field_names())
    section, _, leaf = name.lstrip("-").rpartition(".")
    elsewhere = [field for field in known if field.lstrip("-").rpartition(".")[2] == leaf]
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere)}?"
    siblings = [field for field in known if field.lstrip("-").rpartition(".")[0] == section]
    if siblings and section:
        return did_you_mean(name, siblings)
    nearest = difflib.get_close_matches(name, known, n=1)
    if nearest:
        return f"did you mean {nearest[0]}?"
    return did_you_mean(name, {field.partition(".")[0] for field in known})


def recipe_error(error: ValidationError, *, section: str = "", origin: str = "") -> RecipeError:
    """Return all that pydantic found as one error in the words of the fields.

    Args:
        error: What pydantic found.
        section: Name of the section that was validated, such as `train`. Empty: the whole recipe.
        origin: Where the values were read, put first.
    """
    above = tuple(section.split(".")) if section else ()
    problems: dict[str, RecipeError] = {}
    for details in error.errors(include_url=False):
        problem = _problem((*above, *details["loc"]), details)
        problems.setdefault(problem.what, problem)
    before = f"{origin}: " if origin else ""
    if len(problems) == 1:
        (only,) = problems.values()
        return RecipeError(before + only.what, only.why, only.todo)
    heading = f"{before}{len(problems)} fields need a change:"
    return RecipeError("\n  ".join([heading, *map(str, problems.values())]))


def _problem(location: tuple[int | str, ...], details: ErrorDetails) -> RecipeError:
    """Return one finding as what is wrong, why, and what to do."""
    name, meaning = _named_field(location)
    what = f"{name} is {details['input']!r}"
    if details["type"] == "extra_forbidden":
        return RecipeError(f"{name} is not a field", todo=suggest_field(name, _siblings(location)))
    if details["type"] == "missing":
        return RecipeError(f"{name} is missing", meaning)
    if details["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", details["ctx"]["expected"])
        return RecipeError(what, "not one of its values", did_you_mean(str(details["input"]), choices))
    if details["type"] == "model_type":
        return RecipeError(what, "it should be fields with their values", meaning)
    return RecipeError(what, details["msg"].replace("Input should", "it should"), meaning)


def _named_field(location: tuple[int | str, ...]) -> tuple[str, str]:
    """Return the field's dotted name and its documentation, leaving out the branches of a union's type."""
    names: list[str] = []
    meaning = ""
    section: type[Section] | None = Recipe
    for part in map(str, location):
        if section is None:
            break
        names.append(part)
        if part.isdecimal():  # the place of a section among several
            continue
        meaning = section.model_fields[part].description or "" if part in section.model_fields else ""
        section = subsection(section, part) or item_section(section, part)
    return ".".join(names), meaning


def _siblings(location: tuple[int | str, ...]) -> tuple[str, ...]:
    """Return the fields beside one in a section of which there are several; none for those of a recipe."""
    section: type[Section] = Recipe
    items: type[Section] | None = None
    for part in (str(part) for part in location[:-1] if isinstance(part, str)):
        items = item_section(section, part)
        section = items or subsection(section, part) or section
    prefix = ".".join(map(str, location[:-1]))
    return tuple(f"{prefix}.{name}" for name in items.model_fields) if items else ()
