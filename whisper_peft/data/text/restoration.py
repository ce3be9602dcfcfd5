"""Casing and punctuation for a text that lacks them, from a transcript that has them. No word changes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import jiwer

from whisper_peft.data.targets.labels import recase

ATTACHED = '.,?!;:…—–"“”„«»()[]¿¡。，？！、；：।॥؟،؛'
"""Marks that lean on a word without being of it; apostrophes, hyphens, % and the like belong to words."""

SENTENCE_ENDS = tuple(".?!…。？！।॥؟")

CLOSING = '"”»)]'
"""What may stand behind the mark that ends a sentence."""

LONGEST_ABBREVIATION = 5
"""Mr., Mrs., Dr. and Prof. end no sentence."""

LEAST_AGREEMENT = 0.5
"""A transcript that has fewer of the words heard something else: nothing is taken from it."""


def restore_text(reference: str, transcript: str) -> str:
    """Return the reference as the transcript writes it, wherever both have the same word.

    Words agree when they are equal but for case and attached marks: then the transcript's form is taken, such
    as `Mr.` for `MR` and never for `MISTER`, nor `25` for `TWENTY FIVE`. All other words are those of the
    reference in sentence case. The mark at the transcript's end stays at the end. White space becomes
    single spaces.

    Args:
        reference: What was said; its words stay.
        transcript: What a model wrote of the same recording, with case and punctuation.

    Example:
        >>> restore_text("WELL MISTER HOLMES IS IN LONDON", "Well, Mr. Holmes is in London.")
        'Well, mister Holmes is in London.'
        >>> restore_text("ONE TWO THREE", "Thank you.")
        'One two three'
    """
    said, heard = written_words(reference), written_words(transcript)
    agreeing = _align([word_key(word) for word in said], [word_key(word) for word in heard])
    if len(agreeing) < max(1, LEAST_AGREEMENT * len(said)):
        return recase(" ".join(said), "sentence")
    words: list[str] = []
    for place, word in enumerate(said):
        begins = not words or words[-1].rstrip('"”»)]').endswith(SENTENCE_ENDS)
        if place not in agreeing:
            words.append(recase(word, "sentence" if begins else "lower"))
            continue
        at = agreeing[place]
        began = at == 0 or _ends_sentence(heard[at - 1])
        words.append(_moved(heard[at], began=began, begins=begins))
    if _bare(words[-1]) == words[-1]:
        words[-1] += heard[-1][len(_bare(heard[-1])) :]
    return " ".join(words)


def written_words(text: str) -> list[str]:
    """Return the words of a text; marks that stand alone, as French writes them, stay with the word before.

    Example:
        >>> written_words("Ça va ? Oui !")
        ['Ça', 'va ?', 'Oui !']
    """
    words: list[str] = []
    for word in text.split():
        if words and not word.strip(ATTACHED):
            words[-1] += f" {word}"
        else:
            words.append(word)
    return words


def word_key(word: str) -> str:
    """Return a word as words are compared: without case and attached marks; never empty.

    Example:
        >>> word_key('“It’s,”'), word_key("U.S."), word_key("...")
        ("it's", 'u.s', '...')
    """
    plain = unicodedata.normalize("NFKC", word).replace("’", "'").casefold()
    return plain.strip(f" {ATTACHED}") or word


def _bare(word: str) -> str:
    """Return a word without the marks behind it."""
    return word.rstrip(f" {ATTACHED}")


def _align(said: Sequence[str], heard: Sequence[str]) -> dict[int, int]:
    """Return the places of equal words: in what was said, and in what was heard."""
    if not said or not heard:
        return {}
    chunks = jiwer.process_words(" ".join(said), " ".join(heard)).alignments[0]
    return {
        chunk.ref_start_idx + offset: chunk.hyp_start_idx + offset
        for chunk in chunks
        if chunk.type == "equal"
        for offset in range(chunk.ref_end_idx - chunk.ref_start_idx)
    }


def _ends_sentence(word: str) -> bool:
    word = word.rstrip(f" {CLOSING}")
    is_abbreviation = word.endswith(".") and word.istitle() and len(word) <= LONGEST_ABBREVIATION
    return word.endswith(SENTENCE_ENDS) and not is_abbreviation


def _moved(word: str, *, began: bool, begins: bool) -> str:
    """Return a word of the transcript, as it is written where it now stands in a sentence."""
    if begins and not began:
        return word[:1].upper() + word[1:]
    is_pronoun = word_key(word).split("'")[0] == "i"
    if began and not begins and word.istitle() and not is_pronoun:
        return word.lower()
    return word
