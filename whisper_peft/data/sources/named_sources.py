"""Sources that installed packages offer: `data.source my-corpus`, or `my-corpus:2024/spring`.

A package offers one under the entry-point group `whisper_peft.sources`: a callable that is given the section
`data`, whose `source` holds the name as it was written, and returns a corpus or any iterable of utterances or
rows (in a mapping by split, where there are splits). It is imported only when it is named. A path of that
name goes first, a data set of the Hub comes after.
"""

from __future__ import annotations

import re

from whisper_peft.data.sources.in_memory import open_table
from whisper_peft.data.sources.kinds import Corpus
from whisper_peft.errors import RecipeError
from whisper_peft.recipe.plug_ins import load_plug_in, plug_in_names
from whisper_peft.recipe.sections import DataSection


def plug_in_named(source: str) -> str | None:
    """Return the plug-in that a source's name asks for, None where it asks for none.

    Example:
        >>> plug_in_named("my-corpus:2024/spring"), plug_in_named("openslr/librispeech_asr")
        ('my-corpus', None)
    """
    asked = re.fullmatch(r"([\w.-]{2,}):(?!//).*", source)  # one letter is a drive, // an address
    if asked is not None:
        return asked[1]
    return source if source in plug_in_names("sources") else None


def open_plug_in(name: str, section: DataSection) -> Corpus:
    """Open what a plug-in offers.

    Raises:
        RecipeError: If there is no plug-in of that name, or it cannot be called.
        DataError: If it returns no rows.
    """
    make = load_plug_in("sources", name)
    if not callable(make):
        why = "its package should offer a function of the section `data`"
        raise RecipeError(
            f"the source {name!r} is a {type(make).__name__}", why, "mend or leave out the package"
        )
    made = make(section)
    return made if isinstance(made, Corpus) else open_table(made, section, name=str(section.source))
