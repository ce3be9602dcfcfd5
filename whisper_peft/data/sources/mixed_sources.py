"""The sources beside the main one: opened as it is, with rows that tell by name where they come from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from whisper_peft.data.sources.opening import Source, open_split, open_splits
from whisper_peft.data.sources.source_names import mixed_names
from whisper_peft.data.splits import Role
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection, MixedSource, SpeechFields
from whisper_peft.types import Utterance


@dataclass(frozen=True)
class NamedSource:
    """A source of a mixture: what its rows leave open is filled in, and their ids begin with its name.

    Attributes:
        opened: Where its rows come from.
        label: Its name in the mixture.
        language: Language of rows that have none of their own.
        task: Task of rows that have none of their own.
    """

    opened: Source
    label: str
    language: str | None = None
    task: str | None = None

    @property
    def name(self) -> str:
        """The source and its split, for messages."""
        return self.opened.name

    @property
    def split(self) -> str:
        """A name that opens the same rows again, for records."""
        return self.opened.split

    @property
    def sentence(self) -> str:
        """What was opened and why, in one line."""
        return f"{self.label}: {self.opened.sentence}"

    @property
    def is_stream(self) -> bool:
        """Whether rows bring their recordings along."""
        return self.opened.is_stream

    @property
    def count(self) -> int | None:
        """Rows there are, None where only reading a stream would tell."""
        return self.opened.count

    @property
    def skipped(self) -> Mapping[str, int]:
        """Rows that the last pass could not offer, by reason."""
        return self.opened.skipped

    def __iter__(self) -> Iterator[Utterance]:
        for row in self.opened:
            yield replace(
                row,
                id=f"{self.label}/{row.id}",
                language=row.language or self.language,
                task=row.task or self.task,
                source=self.label,
            )


def open_mixed(main: DataSection, place: int, which: Role) -> NamedSource:
    """Open the rows of `main.mix[place]` to train on or to score.

    Raises:
        DataError: If the source or its split is missing, in the words of its own fields.
        RecipeError: If two sources were given one name.

    Example:
        >>> mixed = MixedSource(source=[{"audio": "a.wav", "text": "A"}], name="old", train="all", eval=None)
        >>> [row.id for row in open_mixed(DataSection(mix=(mixed,)), 0, "train")]
        ['old/row:0']
    """
    name = mixed_names(main.mix)[place]
    with _in_words_of_mix(place):
        opened = open_split(section_of(main.mix[place], main), which, mixed_as=name)
    return _named(main, place, opened)


def open_mixed_splits(main: DataSection, place: int) -> tuple[NamedSource, ...]:
    """Open every split of the source `main.mix[place]`, or all rows of one that has none.

    Raises:
        DataError: If the source is missing, in the words of its own fields.
        RecipeError: If two sources were given one name.
    """
    name = mixed_names(main.mix)[place]
    with _in_words_of_mix(place):
        opened = open_splits(section_of(main.mix[place], main), mixed_as=name)
    return tuple(_named(main, place, source) for source in opened)


def _named(main: DataSection, place: int, opened: Source) -> NamedSource:
    mixed = main.mix[place]
    return NamedSource(opened, mixed_names(main.mix)[place], mixed.language, mixed.task)


def section_of(mixed: MixedSource, main: DataSection) -> DataSection:
    """Return the section that opens a source as if it were the main one; durations are the main one's.

    Example:
        >>> section_of(MixedSource(source="a"), DataSection(source="b", max_duration_s=9)).max_duration_s
        9.0
    """
    own = {*SpeechFields.model_fields, "dev", "mix", "weight", "mix_temperature"}
    shared = {name: getattr(main, name) for name in main.model_fields_set - own}
    named = {name: getattr(mixed, name) for name in mixed.model_fields_set & {*SpeechFields.model_fields}}
    return DataSection(**shared, **{name: value for name, value in named.items() if value is not None})


@contextmanager
def _in_words_of_mix(place: int) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(*(_of_mix(text, place) for text in (error.what, error.why, error.todo))) from None


def _of_mix(text: str, place: int) -> str:
    """Return a message about the main source's fields as one about those of a mixed source."""
    fields = "|".join(SpeechFields.model_fields)
    return re.sub(rf"\bdata\.({fields})\b", rf"data.mix.{place}.\1", text)
