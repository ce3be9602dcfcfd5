"""Recipes as YAML files: what is written runs again as it is.

Names and numbers are written as they are, a `peft.PeftConfig` by its type and the fields that differ from the
type's defaults, a callable as `module:name`. Speech held in memory cannot be written: the file says what it
was, and a re-run refuses until another source is given.
"""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from whisper_peft.errors import RecipeError, StorageError
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.peft_configs import peft_config_fields, peft_config_from
from whisper_peft.recipe.plug_ins import qualified_name
from whisper_peft.recipe.sections import Recipe, Section

_HEADER = "# A whisper_peft recipe. Run it again: whisper-peft finetune {name} --output-dir FOLDER\n"


UNICODE_BREAKS = frozenset("\x85\u2028\u2029")
"""Line breaks of YAML 1.1 that PyYAML writes as they are and reads back as others, unless escaped."""


class _RecipeDumper(yaml.SafeDumper):
    """Writes text with unusual line breaks in double quotes, where they are escaped."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if UNICODE_BREAKS.isdisjoint(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_RecipeDumper.add_representer(str, _represent_text)


@dataclass(frozen=True, slots=True)
class HeldInMemory:
    """What stands in a recipe file for a value that existed in memory only."""

    kind: str


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write every field of the recipe, defaults included, so that later defaults cannot change the run.

    Raises:
        StorageError: If the file cannot be written.
    """
    try:
        partial = path.with_name(f".{path.name}.partial")  # a kill while writing leaves no half recipe
        partial.write_text(_HEADER.format(name=path.name) + recipe_yaml(recipe), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written", str(error.strerror), "choose another --output-dir"
        ) from None


def recipe_yaml(recipe: Recipe) -> str:
    """Return the recipe as YAML.

    Example:
        >>> print(recipe_yaml(Recipe(name="mine")).splitlines()[0])
        name: mine
    """
    plain = _plain(_recorded(recipe))
    return yaml.dump(plain, Dumper=_RecipeDumper, sort_keys=False, allow_unicode=True, width=100)


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a YAML file.

    Raises:
        RecipeError: If the file is missing or is not YAML, or a field is unknown or has an unfit value.
    """
    tree = _load_mapping(path)
    data, adapter = tree.get("data"), tree.get("adapter")
    mix = data.get("mix") if isinstance(data, dict) else None
    for place in (data, *(mix if isinstance(mix, list) else ())):
        if isinstance(place, dict) and isinstance(place.get("source"), dict):
            place["source"] = HeldInMemory(str(place["source"].get("held_in_memory", "mapping")))
    if isinstance(adapter, dict) and adapter.get("config") is not None:
        adapter["config"] = peft_config_from(adapter["config"])
    return apply_overrides(Recipe(), tree, origin=str(path))


def refuse_held_in_memory(recipe: Recipe) -> None:
    """Refuse a recipe whose speech was not recorded.

    Raises:
        RecipeError: If `data.source` stood in memory when the recipe was written.
    """
    if isinstance(recipe.data.source, HeldInMemory):
        raise RecipeError(
            f"data.source was a {recipe.data.source.kind}, held in memory",
            "a recipe file cannot hold speech",
            "give the source again, in Python with data={'source': ...} or with --data.source PATH",
        )
    for place, mixed in enumerate(recipe.data.mix):
        if isinstance(mixed.source, HeldInMemory):
            raise RecipeError(
                f"data.mix.{place}.source was a {mixed.source.kind}, held in memory",
                "a recipe file cannot hold speech",
                "give data.mix again, in Python with data={'mix': ...} or with --data.mix SOURCE=WEIGHT",
            )


def _load_mapping(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"{path} cannot be read", str(error.strerror), "give a recipe's YAML file"
        ) from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path} is not text in UTF-8", todo="give a recipe's YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "unknown line"
        why = getattr(error, "problem", None) or str(error)
        raise RecipeError(f"{path} is not valid YAML at {where}", why, "mend that line") from None
    if not isinstance(tree, dict):
        raise RecipeError(
            f"{path} holds no recipe", "a recipe is fields with their values", "begin with `model:`, for one"
        )
    return tree


def _recorded(recipe: Recipe) -> Recipe:
    """Return the recipe with what a file can hold of the values that may be of any type."""
    config = recipe.adapter.config
    if config is not None:
        config = peft_config_fields(config)
    mix = tuple(mixed.model_copy(update={"source": _source(mixed.source)}) for mixed in recipe.data.mix)
    data = recipe.data.model_copy(update={"source": _source(recipe.data.source), "mix": mix})
    return recipe.model_copy(
        update={"data": data, "adapter": recipe.adapter.model_copy(update={"config": config})}
    )


def _source(source: Any) -> Any:
    """Return a source as a file can hold it; of speech in memory, what it was."""
    if isinstance(source, str | Path):
        return source
    if isinstance(source, HeldInMemory):
        return {"held_in_memory": source.kind}
    size = f" of {len(source)}" if isinstance(source, Sized) else ""
    return {"held_in_memory": type(source).__name__ + size}


def _plain(value: Any) -> Any:
    """Return a value as YAML can hold it."""
    if isinstance(value, Section):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return qualified_name(value) if callable(value) else value
