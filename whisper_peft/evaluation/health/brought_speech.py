"""The speech that the package brings along, so that a run always has other speech to be tried on.

Telephone prompts from a studio, English and French, of one speaker each, under CC BY-SA 3.0 (`speech/` says
more). They are few: what they show is gross. Speech of one's own shows more.
"""

from __future__ import annotations

import json
from pathlib import Path

from whisper_peft.types import Utterance

SPEECH = Path(__file__).parent / "speech"

BROUGHT_LANGUAGES = ("en", "fr")
"""In the order in which they are taken."""


def brought_speech(language: str) -> tuple[Utterance, ...]:
    """Return the utterances of a language, undecoded, the longest first.

    Example:
        >>> rows = brought_speech("fr")
        >>> len(rows), rows[0].language, rows[0].audio.is_file()
        (12, 'fr', True)
    """
    lines = (SPEECH / language / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(
        Utterance(
            id=f"brought-{language}/{row['file_name']}",
            audio=SPEECH / language / row["file_name"],
            text=row["text"],
            language=language,
            speaker_id=row["speaker_id"],
            duration_s=row["duration_s"],
            task="transcribe",
        )
        for row in map(json.loads, lines)
    )


def brought_name(language: str) -> str:
    """Return what a report calls the speech of a language.

    Example:
        >>> brought_name("en")
        'prompts (en), brought along'
    """
    return f"prompts ({language}), brought along"


def brought_languages(language: str | None, *, multilingual: bool) -> tuple[str, ...]:
    """Return the languages to try, those that the run is not of first.

    Args:
        language: Code of the run's language.
        multilingual: Whether the model knows other languages than English.

    Example:
        >>> brought_languages("en", multilingual=True), brought_languages(None, multilingual=False)
        (('fr', 'en'), ('en',))
    """
    if not multilingual:
        return ("en",)
    return tuple(sorted(BROUGHT_LANGUAGES, key=lambda one: one == language))
