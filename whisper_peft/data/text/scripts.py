"""In which scripts a text is written, told from the Unicode names of its letters."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache

JAPANESE = frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"})
"""Scripts that Japanese writes side by side."""

SYLLABIC = frozenset({"HAN", "KANA", "HANGUL"})
"""Scripts with a sign for each syllable or more."""


@lru_cache(maxsize=4096)
def script_of_letter(character: str) -> str | None:
    """Return the script of a letter; None for what is no letter.

    Example:
        >>> script_of_letter("a"), script_of_letter("я"), script_of_letter("漢"), script_of_letter("1")
        ('LATIN', 'CYRILLIC', 'HAN', None)
    """
    if not character.isalpha():
        return None
    name = unicodedata.name(character, "UNNAMED").split()[0]
    if name in ("FULLWIDTH", "HALFWIDTH", "MODIFIER", "MATHEMATICAL", "MICRO", "FEMININE", "MASCULINE"):
        return None
    if name in JAPANESE:
        return "HAN" if name == "CJK" else "KANA"
    return name


def main_script(text: str) -> str | None:
    """Return the script of most letters of a text; None where it has none. Japanese is KANA.

    Example:
        >>> [main_script(text) for text in ("Gare du Nord", "Вокзал Nord", "駅へ行く", "112")]
        ['LATIN', 'CYRILLIC', 'KANA', None]
    """
    scripts = Counter(script for script in map(script_of_letter, text) if script is not None)
    if scripts["KANA"]:
        return "KANA"
    return scripts.most_common(1)[0][0] if scripts.total() else None


def mixed_word(text: str) -> str | None:
    """Return the first word that mixes alphabets which no language mixes, such as a Latin a among Cyrillic.

    Example:
        >>> mixed_word("to be"), mixed_word("Т\u0430xi")
        (None, 'Таxi')
    """
    alphabets = {"LATIN", "CYRILLIC", "GREEK"}
    for word in text.split():
        if not word.isascii() and len({script_of_letter(letter) for letter in word} & alphabets) > 1:
            return word
    return None
