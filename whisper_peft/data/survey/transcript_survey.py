"""How the transcripts of a corpus are written, gathered row by row in bounded memory."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from whisper_peft.data.survey.contents import ContentIndex
from whisper_peft.data.survey.findings import Reason, TextFigures
from whisper_peft.data.survey.likeness import LikenessIndex, sentence_index
from whisper_peft.data.survey.row_facts import RowFacts
from whisper_peft.data.text.scripts import main_script, mixed_word
from whisper_peft.data.text.text_style import SENTENCE_MARKS, TextStyle, text_style

STYLE_SAMPLE = 1000
"""Transcripts, drawn evenly, that the style is told from; at most twice as many are held."""

RARE_SHARE = 0.001
"""A sign is rare in fewer rows than this share, and"""

FEWEST_FOR_RARE = 200
"""there must be so many rows before one can be."""

MOST_RARE_SIGNS = 20

OTHER_SCRIPT_SHARE = 0.05
"""A script is another one than the rest's where fewer rows of the language are in it than this share."""

FEWEST_FOR_SCRIPT = 20
"""Rows of a language that there must be before a script can be another one."""

MOST_CANDIDATES = 100
"""Rows kept for each language and script until all have been seen."""


def spoken_words(text: str) -> str:
    """Return a transcript's words without case and punctuation.

    Example:
        >>> spoken_words("It is, isn't it?")
        'it is isn t it'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in folded)
    return " ".join(kept.split())


def sentence_digest(text: str) -> bytes:
    """Return 16 bytes that transcripts of the same words share, whatever their case and punctuation.

    Example:
        >>> sentence_digest("It is, isn't it?") == sentence_digest("IT IS ISN'T IT")
        True
    """
    return hashlib.blake2b(spoken_words(text).encode("utf-8", "replace"), digest_size=16).digest()


@dataclass
class TranscriptSurvey:
    """Counts of what rows are written in."""

    sentences: ContentIndex = field(default_factory=ContentIndex)
    alike: LikenessIndex = field(default_factory=sentence_index)
    rows: int = 0
    _punctuated: int = 0
    _with_digits: int = 0
    _signs: Counter[str] = field(default_factory=Counter)
    _scripts: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    _candidates: dict[tuple[str | None, str | None], list[RowFacts]] = field(default_factory=dict)
    _sample: list[str] = field(default_factory=list)
    _stride: int = 1

    def add(self, row: RowFacts) -> Iterator[Reason]:
        """Count a row, and yield what is wrong with its text by itself."""
        text = row.text
        self._draw(text)
        self.rows += 1
        self._punctuated += not SENTENCE_MARKS.isdisjoint(text)
        self._with_digits += any(sign.isdigit() for sign in text)
        self._signs.update(set(text))
        self.sentences.add(sentence_digest(text), row.id, row.split)
        written = (row.language, main_script(text))
        self._scripts[written] += 1
        candidates = self._candidates.setdefault(written, [])
        if len(candidates) < MOST_CANDIDATES:
            candidates.append(row)
        if (word := mixed_word(text)) is not None:
            yield Reason("mixed-script", f"{word} mixes alphabets")

    def others(self) -> Iterator[tuple[RowFacts, Reason]]:
        """Yield rows in another script than the rest of their language."""
        languages: Counter[str | None] = Counter()
        for (language, _), count in self._scripts.items():
            languages[language] += count
        for (language, script), count in self._scripts.items():
            total = languages[language]
            if script and count < OTHER_SCRIPT_SHARE * total and total >= FEWEST_FOR_SCRIPT:
                told = Reason("other-script", f"{script.title()}, as {count} of {total} rows")
                yield from ((row, told) for row in self._candidates[language, script])

    @property
    def style(self) -> TextStyle:
        """Case and punctuation, told from a sample."""
        return text_style(self._sample)

    def figures(self, splits: Collection[int]) -> TextFigures:
        """Return what was counted; repeats are those within each of the splits."""
        scripts: Counter[str] = Counter()
        for (_, script), count in self._scripts.items():
            scripts[script or "none"] += count
        total = max(self.rows, 1)
        return TextFigures(
            style=str(self.style),
            punctuation_share=self._punctuated / total,
            digits_share=self._with_digits / total,
            scripts={script: count / total for script, count in scripts.most_common()},
            rare_signs=self._rare_signs(),
            repeated_sentences=self.sentences.repeated_rows(splits),
        )

    def _rare_signs(self) -> dict[str, int]:
        if self.rows < FEWEST_FOR_RARE:
            return {}
        rare = [(sign, count) for sign, count in self._signs.items() if count < RARE_SHARE * self.rows]
        strange = [(sign, count) for sign, count in rare if not sign.isalnum()]
        return dict(sorted(strange, key=lambda item: (item[1], item[0]))[:MOST_RARE_SIGNS])

    def _draw(self, text: str) -> None:
        """Keep every so many transcripts; every second one is dropped when there are too many."""
        if self.rows % self._stride == 0:
            self._sample.append(text)
        if len(self._sample) > 2 * STYLE_SAMPLE:
            self._sample, self._stride = self._sample[::2], 2 * self._stride
