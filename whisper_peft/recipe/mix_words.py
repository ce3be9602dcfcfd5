"""Sources of a mixture in words, as a command line has them: `SOURCE=WEIGHT`, then fields of that source."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from whisper_peft.errors import did_you_mean

ALIKE = 0.75
"""A name that is no path and this much like a field (difflib) is the field, misspelt, and no Hub name."""

NOTHING = "None"
"""How a command line says that a field has no value."""


def fields_of_words(items: Sequence[Any], known: Collection[str]) -> list[Any]:
    """Return each source's fields; items that are no words stay as they are.

    A word is a source (`speech/en`), a source with its weight (`speech/en=0.2`) or its share of an epoch
    (`speech/en=10%`), or a field of the source before it (`language=en`).

    Args:
        items: Words, or sources that are values already.
        known: Names of the fields that a source has.

    Raises:
        PydanticCustomError: If a word is none of these.

    Example:
        >>> fields_of_words(["speech/en=20%", "language=en", "other.jsonl"], ["source", "share", "language"])
        [{'source': 'speech/en', 'share': 0.2, 'language': 'en'}, {'source': 'other.jsonl'}]
    """
    sources: list[Any] = []
    for item in items:
        field, assigned, value = item.partition("=") if isinstance(item, str) else ("", "", "")
        if assigned and field in known and sources and isinstance(sources[-1], dict):
            sources[-1][field] = None if value == NOTHING else value
        elif isinstance(item, str):
            sources.append(_source(item, known))
        else:
            sources.append(dict(item) if isinstance(item, dict) else item)
    return sources


def _source(word: str, known: Collection[str]) -> dict[str, Any]:
    source, assigned, value = word.rpartition("=")
    if not assigned or Path(word).exists():
        return {"source": word}
    if source in known:
        raise _refused(word, "comes before any source", "write SOURCE=WEIGHT, then the fields of that source")
    number = _number(value.removesuffix("%"))
    misspelt = difflib.get_close_matches(source, known, n=1, cutoff=ALIKE) and not Path(source).exists()
    if not source or number is None or misspelt:
        raise _refused(word, "is no source with its weight or share", did_you_mean(source, known))
    return {"source": source, **({"share": number / 100} if value.endswith("%") else {"weight": number})}


def _refused(word: str, why: str, todo: str) -> PydanticCustomError:
    return PydanticCustomError("word", "{word} {why}; {todo}", {"word": repr(word), "why": why, "todo": todo})


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
