"""Text normalisers: what counts as the same word when transcripts are scored.

The English and the basic one are Whisper's own (Radford et al., 2022, appendix C) as kept by transformers.

NOTICE: `whisper_peft/english_spelling.json` is `whisper/normalizers/english.json` of openai-whisper 20250625,
Copyright (c) 2022 OpenAI, MIT licence. Tokenizers carry the same map as `normalizer.json`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import regex
from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

from whisper_peft.errors import EvaluationError, did_you_mean
from whisper_peft.model.checkpoints.whisper_tokenizers import english_spelling

ENGLISH = frozenset({"en", "english", "<|en|>"})

UNWRITTEN = regex.compile(r"[\p{Cf}\p{Me}\p{Variation_Selector}\u0640]")
"""What has no sound: invisible characters (joiners, directions), enclosing marks, the Arabic tatweel."""

SYMBOL = regex.compile(r"[[\p{P}\p{S}]--[\u104c-\u104f]]", regex.V1)
"""Punctuation and symbols, without four Burmese words (in, and, ditto, of) that Unicode counts among them."""

CHILLUS = {
    "\u0d23\u0d4d\u200d": "\u0d7a",
    "\u0d28\u0d4d\u200d": "\u0d7b",
    "\u0d30\u0d4d\u200d": "\u0d7c",
    "\u0d32\u0d4d\u200d": "\u0d7d",
    "\u0d33\u0d4d\u200d": "\u0d7e",
    "\u0d15\u0d4d\u200d": "\u0d7f",
    "\u09a4\u09cd\u200d": "\u09ce",
}
"""Letters of Malayalam, and one of Bengali, that were written with a joiner before Unicode 5.1 and 4.1, and
that no normal form unites with the letter that they are."""

CHILLU = regex.compile("|".join(CHILLUS))

STRAY_MARK = regex.compile(r"(?<![\p{L}\p{N}\p{M}])\p{M}+")
"""Marks that sit on no letter, such as the rest of an accent whose symbol was removed."""

LOWERED_TURKISH_I = "i\u0307"
"""What `str.lower` makes of the dotted capital I: an i with a second dot."""


@dataclass(frozen=True, slots=True)
class Normalizer:
    """A named text normaliser; calling it returns words separated by single spaces.

    Example:
        >>> get_normalizer("english", "en")("Mr. Grey, um, can't pay twenty pounds!")
        'mister gray can not pay £20'
    """

    name: str
    """english, basic, marks or none: reported beside every rate."""
    clean: Callable[[str], str]
    """The function behind it."""

    def __call__(self, text: str) -> str:
        """Return `text` as it is compared."""
        return " ".join(self.clean(text).split())


def get_normalizer(name: str = "auto", language: str | None = None) -> Normalizer:
    """Return the normaliser called `name`, where `auto` is english or marks by language.

    Args:
        name: `english` (Whisper's: spelling, numbers, contractions), `basic` (Whisper's for other languages,
            which strips even the marks that are letters in Devanagari, Thai or Arabic), `marks` (as basic,
            but letters keep their marks), `none` (white space only) or `auto`.
        language: Language of the transcripts (English for translations); None: an English-only checkpoint.

    Raises:
        EvaluationError: If there is no normaliser of that name.

    Example:
        >>> get_normalizer("auto", "hi").name, get_normalizer("auto", None).name
        ('marks', 'english')
        >>> get_normalizer("marks")("हिन्दी — Où est L'été ?")
        'हिन्दी où est l été'
    """
    if name == "auto":
        name = "english" if language is None or language.lower() in ENGLISH else "marks"
    if name not in BUILDERS:
        raise EvaluationError(
            f"eval.normalizer is {name!r}", "no such normaliser", did_you_mean(name, ["auto", *BUILDERS])
        )
    return Normalizer(name, BUILDERS[name]())


def keep_marks(text: str) -> str:
    """Replace punctuation and symbols by spaces, and keep marks on their letters.

    The result is in Unicode's form NFKC, as that of Whisper's own normaliser: beside composing letters with
    their marks, as NFC does, it unites full-width letters and digits, half-width katakana and Arabic
    presentation forms with the usual ones, which transcripts mix and nobody hears.
    """
    composed = CHILLU.sub(lambda found: CHILLUS[found[0]], unicodedata.normalize("NFKC", text))
    visible = UNWRITTEN.sub("", composed)
    words = STRAY_MARK.sub("", SYMBOL.sub(" ", visible))
    return unicodedata.normalize("NFKC", words.replace(LOWERED_TURKISH_I, "i"))


@cache
def _english() -> Callable[[str], str]:
    normalize: Callable[[str], str] = EnglishTextNormalizer(english_spelling())
    return normalize


def _basic() -> Callable[[str], str]:
    normalize: Callable[[str], str] = BasicTextNormalizer()
    return normalize


def _marks() -> Callable[[str], str]:
    normalize = BasicTextNormalizer()
    normalize.clean = lambda s: keep_marks(s)
    result: Callable[[str], str] = normalize
    return result


def _none() -> Callable[[str], str]:
    return str


BUILDERS: dict[str, Callable[[], Callable[[str], str]]] = {
    "english": _english,
    "basic": _basic,
    "marks": _marks,
    "none": _none,
}
