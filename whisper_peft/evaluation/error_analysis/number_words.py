"""Which words are numbers: those with a digit in every language, and number words of some.

Whisper's English normaliser writes numbers in digits; the other one leaves them as they are said.
"""

from __future__ import annotations

import regex

TENS_DE = "zwanzig|drei(ß|ss)ig|(vier|fünf|sech|sieb|acht|neun)zig"

NUMBER_WORDS = {
    "en": (
        "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve",
        "(thir|four|fif|six|seven|eigh|nine)teen|(twen|thir|for|fif|six|seven|eigh|nine)ty",
        "hundreds?|thousands?|millions?",
    ),
    "fr": (
        "zéro|deux|trois|quatre|cinq|six|sept|huit|neuf|dix|onze|douze|treize|quatorze|quinze|seize",
        "vingts?|trente|quarante|cinquante|soixante|septante|huitante|nonante|cents?|mille|millions?",
    ),
    "de": (
        "null|eins|zwei|zwo|drei|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf",
        "(drei|vier|fünf|sech|sieb|acht|neun)zehn",
        rf"((ein|zwei|drei|vier|fünf|sechs|sieben|acht|neun)und)?({TENS_DE})",
        r"\p{L}*(hundert|tausend)\p{L}*|million(en)?",
    ),
    "es": (
        "cero|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|once|doce|trece|catorce|quince",
        r"dieci(séis|siete|ocho|nueve)|veinte|veinti\p{L}+|treinta|cuarenta|cincuenta|sesenta|setenta|ochenta",
        r"noventa|cien(to)?|\p{L}+cient[oa]s|mil|mill(ón|ones)",
    ),
    "it": (
        "zero|due|tre|quattro|cinque|sei|sette|otto|nove|dieci|(un|do|tre|quattor|quin|se)dici",
        r"dici(assette|otto|annove)|(venti|trenta|quaranta|cinquanta|sessanta|settanta|ottanta|novanta)\p{L}*",
        r"(due|tre|quattro|cinque|sei|sette|otto|nove)?cento|mille|\p{L}+mila|milion[ei]",
    ),
    "pt": (
        "zero|dois|duas|três|quatro|cinco|seis|sete|oito|nove|dez|onze|doze|treze|[qc]u?atorze|quinze",
        "deza?(sseis|ssete|nove)|dezoito|vinte|trinta|quarenta|cinquenta|sessenta|setenta|oitenta|noventa",
        r"cem|cento|\p{L}+cent[oa]s|mil|milh(ão|ões)",
    ),
    "nl": (
        "nul|twee|drie|vier|vijf|zes|zeven|acht|negen|tien|elf|twaalf|(der|veer|vijf|zes|zeven|acht|negen)tien",
        r"\p{L}*(twintig|dertig|veertig|vijftig|zestig|zeventig|tachtig|negentig)",
        r"(twee|drie|vier|vijf|zes|zeven|acht|negen)?(honderd|duizend)|miljoen",
    ),
}
"""Patterns of whole words; a word that is an article too, such as the French `un`, is none of them."""

PATTERNS = {language: regex.compile("|".join(words)) for language, words in NUMBER_WORDS.items()}


def is_number(word: str, language: str | None) -> bool:
    """Tell whether a normalised word is a number.

    Args:
        word: The word.
        language: Its language, of which only digits count where there is no pattern; None: English.

    Example:
        >>> is_number("£20", "en"), is_number("vingt", "fr"), is_number("un", "fr"), is_number("ein", "de")
        (True, True, False, False)
        >>> is_number("dreiundzwanzig", "de"), is_number("und", "de")
        (True, False)
    """
    pattern = PATTERNS.get(language or "en")
    return any(sign.isdigit() for sign in word) or bool(pattern and pattern.fullmatch(word))
