"""How transcripts are written: casing, punctuation and digits, which the normalised WER does not see."""

from __future__ import annotations

from collections.abc import Iterable

from whisper_peft.types import StyleProfile

SENTENCE_ENDS = tuple(".?!。？！।॥؟۔။።")
"""Marks that end a sentence, in the scripts that have any."""

COMMAS = frozenset(",，、،")

CLOSING = "\"'”’»)]"
"""What may stand after the mark that ends a sentence."""


def style_profile(texts: Iterable[str]) -> StyleProfile:
    """Return how texts are written; empty ones are left out.

    Words without letters that have case count for nothing in the shares of capitals.

    Example:
        >>> style = style_profile(["Hello, Bob. Dial 42!", "THE END", ""])
        >>> style.ends_in_mark, round(style.commas_per_100_words, 1), style.all_caps_words
        (0.5, 16.7, 0.4)
    """
    written = [text.strip() for text in texts if text.strip()]
    words = [word for text in written for word in text.split()]
    cased = [letters for word in words if (letters := _cased_letters(word))]
    openings = [letters[0] for text in written if (letters := _cased_letters(text))]
    return StyleProfile(
        capitalised_words=_share(sum(letters[0].isupper() for letters in cased), len(cased)),
        all_caps_words=_share(sum(len(word) > 1 and word.isupper() for word in cased), len(cased)),
        starts_with_capital=_share(sum(letter.isupper() for letter in openings), len(openings)),
        ends_in_mark=_share(
            sum(text.rstrip(CLOSING).endswith(SENTENCE_ENDS) for text in written), len(written)
        ),
        commas_per_100_words=100 * _share(sum(_commas(word) for word in words), len(words)),
        digits_per_100_words=100 * _share(sum(map(str.isdecimal, "".join(words))), len(words)),
    )


def _cased_letters(text: str) -> str:
    return "".join(letter for letter in text if letter.isupper() or letter.islower())


def _commas(word: str) -> int:
    """Count the commas of a word, without those that group the digits of a number."""
    return sum(
        mark in COMMAS and not word[place + 1 : place + 2].isdecimal() for place, mark in enumerate(word)
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
