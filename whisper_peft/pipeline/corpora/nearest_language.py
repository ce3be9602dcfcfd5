"""What a multilingual checkpoint is told for speech in a language that Whisper has no token for."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from whisper_peft.data.sources.opening import Source
from whisper_peft.data.sources.skipping import Keeps, rows_after
from whisper_peft.data.targets.labels import language_code
from whisper_peft.data.text.language_profiles import known_profiles, nearest_languages, profile
from whisper_peft.errors import DataError
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import Recipe
from whisper_peft.types import Utterance

NEAREST = "nearest"
"""In place of `model.language`: the language whose text is most like the training text."""

SAMPLE = 300
"""Transcripts that are compared: five of them mostly do."""


@dataclass(frozen=True, slots=True)
class LanguageAdvice:
    """The languages with a token that a text is written most like, the nearest first, and the evidence."""

    codes: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class ToldLanguage:
    """What rows without a language of Whisper's are told.

    Attributes:
        language: Code or name that `model.language` stands for; None where each row has its own.
        sentence: What there is to say of it; None where nothing was chosen.
        replaces: Whether rows have languages that Whisper has no token for, which it stands for too.
    """

    language: str | None
    sentence: str | None = None
    replaces: bool = False

    def source(self, source: Source) -> Source:
        """Return a split whose rows Whisper can be told of."""
        return ToldSource(source, self.language) if self.replaces and self.language else source

    def recipe(self, recipe: Recipe) -> Recipe:
        """Return a recipe with what `model.language` stands for."""
        if recipe.model.language == self.language:
            return recipe
        model = recipe.model.model_copy(update={"language": self.language})
        return recipe.model_copy(update={"model": model})


def settle_language(language: str | None, source: Source, whisper: Whisper) -> ToldLanguage:
    """Return what the rows of a source are told, where `language` or theirs is not one of Whisper's.

    A language that is named is taken or refused. Rows in one without a token take it, and that is said.

    Args:
        language: The recipe's `model.language`.
        source: Speech with its text; its first rows are looked at.
        whisper: Which languages there are, and how text is spelled in tokens.

    Raises:
        DataError: If Whisper has no token for a language, with the nearest ones.
    """
    if not whisper.is_multilingual:
        return _english_only(language)
    asked = language is not None and (language == NEAREST or not is_known(language))
    rows = list(itertools.islice(source, SAMPLE if asked or not source.is_stream else 1))
    foreign = {row.language for row in rows if row.language and not is_known(row.language)}
    if not asked and not foreign:
        return ToldLanguage(language)
    names = ", ".join(sorted(foreign))
    if language is not None and not asked:
        sentence = f"rows in {names} are told {language} (model.language): Whisper has no token for {names}"
        return ToldLanguage(language, sentence, replaces=True)
    texts = [row.text for row in rows if not row.language or not is_known(row.language)]
    advice = advise_language(texts or [row.text for row in rows], whisper.tokenizer)
    first = advice.codes[0]
    if language == NEAREST:
        sentence = f"model.language {NEAREST} is {first}: {advice.sentence}"
        return ToldLanguage(first, sentence, replaces=bool(foreign))
    raise DataError(
        f"Whisper has no token for language {language or names!r}",
        advice.sentence,
        f"{_alike(language)}choose one, such as --model.language {first}, or take what is found: "
        f"--model.language {NEAREST}",
    )


def _alike(language: str | None) -> str:
    """Return the name that a mistyped one may stand for, as a question, or nothing."""
    names = [*LANGUAGES.values(), *TO_LANGUAGE_CODE]
    alike = difflib.get_close_matches((language or "").lower(), names, n=1, cutoff=0.75)
    return f"did you mean {alike[0]}? or " if alike else ""


def _english_only(language: str | None) -> ToldLanguage:
    if language == NEAREST:
        raise DataError(
            f"model.language is {NEAREST}, for an English-only checkpoint",
            "it knows no other language",
            "choose a multilingual checkpoint, such as openai/whisper-tiny, or leave the language out",
        )
    return ToldLanguage(language)


def advise_language(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> LanguageAdvice:
    """Return the languages with a token that texts are written most like.

    Raises:
        DataError: If there is no text.
    """
    sample = [text for text in texts if text.strip()]
    if not sample:
        raise DataError(
            "there is no text to tell the language from", "the first rows have none", "set model.language"
        )
    mine = profile(sample, tokenizer)
    found = nearest_languages(mine, known_profiles())
    shared = ", ".join(f"{one.name} {one.similarity:.0%}" for one in found)
    words = (
        f"{mine.tokens_per_word:.1f} tokens a word where {found[0].name} takes {found[0].tokens_per_word:.1f}"
    )
    sentence = (
        f"by the tokens of {len(sample)} transcripts, the rarer counting more, it shares most with {shared}, "
        f"and takes {words}; this is a guess from spelling, the speech was not heard"
    )
    return LanguageAdvice(tuple(one.code for one in found), sentence)


def is_known(language: str) -> bool:
    """Tell whether Whisper has a token for a language given by code, name or locale.

    Example:
        >>> is_known("French"), is_known("sco")
        (True, False)
    """
    try:
        language_code(language)
    except DataError:
        return False
    return True


@dataclass(frozen=True)
class ToldSource:
    """A split whose rows in languages without a token are told another one."""

    source: Source
    language: str

    @property
    def name(self) -> str:
        """The source and its split, for messages."""
        return self.source.name

    @property
    def split(self) -> str:
        """A name that opens the same rows again, for records."""
        return self.source.split

    @property
    def sentence(self) -> str:
        """What was opened and why, in one line."""
        return self.source.sentence

    @property
    def is_stream(self) -> bool:
        """Whether rows bring their recordings along."""
        return self.source.is_stream

    @property
    def count(self) -> int | None:
        """Rows there are, None where only reading a stream would tell."""
        return self.source.count

    @property
    def skipped(self) -> Mapping[str, int]:
        """Rows that the last pass could not offer, by reason."""
        return self.source.skipped

    def after(self, count: int, keeps: Keeps) -> Iterator[Utterance]:
        """Yield the rows that `keeps` wants, without the first `count`."""
        return map(self._told, rows_after(self.source, count, keeps))

    def __iter__(self) -> Iterator[Utterance]:
        return map(self._told, self.source)

    def _told(self, row: Utterance) -> Utterance:
        known = not row.language or is_known(row.language)
        return row if known else replace(row, language=self.language)
