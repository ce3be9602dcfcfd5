"""What counts as a word and as a character, also in scripts that put no spaces between words.

In Chinese, Japanese, Thai, Lao, Burmese and Khmer white space separates phrases, if anything: over words that
it separates, one wrong character makes a sentence wrong. There each character counts as a word, as it does in
Whisper's own evaluation (Radford et al., 2022, appendix C); words of other scripts between them stay whole,
as is usual where languages are mixed.
"""

from __future__ import annotations

import regex

SPACELESS = regex.compile(r"(?=[\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Thai}\p{Lao}\p{Myanmar}\p{Khmer}])\X")
"""A character with its marks (a grapheme), in a script written without spaces between words."""

SPACED = regex.compile(rf" ?({SPACELESS.pattern}) ?")


def separate_words(text: str) -> str:
    """Return a text with single spaces between what counts as words.

    Example:
        >>> separate_words("我有 iPhone 手机"), separate_words("มีน้ำ"), separate_words(" two  words ")
        ('我 有 iPhone 手 机', 'มี น้ำ', 'two words')
    """
    spaced: str = SPACELESS.sub(r" \g<0> ", text)
    return " ".join(spaced.split())


def join_characters(text: str) -> str:
    """Return a text with single spaces, and none beside a character of a script without spaces.

    Example:
        >>> join_characters("我 有 iPhone 手机"), join_characters(" two  words ")
        ('我有iPhone手机', 'two words')
    """
    joined: str = SPACED.sub(r"\1", " ".join(text.split()))
    return joined


def has_spaceless(text: str) -> bool:
    """Tell whether characters of a text count as words.

    Example:
        >>> has_spaceless("東京"), has_spaceless("Tokyo")
        (True, False)
    """
    return SPACELESS.search(text) is not None
