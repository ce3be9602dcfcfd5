"""What the sources of a mixture are called: in reports, and before the ids of their rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from whisper_peft.data.sources.kinds import PATH_SUFFIXES
from whisper_peft.errors import RecipeError
from whisper_peft.recipe.sections import MixedSource


def mixed_names(mix: Sequence[MixedSource]) -> tuple[str, ...]:
    """Return a name for each source: the one given, else that of its file, folder or data set, numbered.

    Raises:
        RecipeError: If one name was given twice.

    Example:
        >>> mixed_names([MixedSource(source=name) for name in ("prompts/en", "owner/libri", "more/en")])
        ('en', 'libri', 'en-2')
    """
    given = [mixed.name for mixed in mix if mixed.name is not None]
    for name in given:
        if given.count(name) > 1:
            raise RecipeError(
                f"{given.count(name)} sources of data.mix have the name {name!r}",
                "their scores could not be told apart",
                "give them different names, or none",
            )
    names: list[str] = []
    for mixed in mix:
        base = _base_name(mixed.source)
        numbered = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
        names.append(mixed.name or next(name for name in numbered if name not in {*names, *given}))
    return tuple(names)


def _base_name(source: object) -> str:
    if not isinstance(source, str | Path):
        return type(source).__name__.lower()
    name = Path(source).expanduser().absolute().name
    ending = next((suffix for suffix in PATH_SUFFIXES if name.endswith(suffix)), "")
    return name.removesuffix(ending) or "source"
