"""Word by word: what was said beside what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jiwer

from whisper_peft.evaluation.units import separate_words


@dataclass(frozen=True, slots=True)
class AlignedWord:
    """One step of the alignment; the side that has no word is empty."""

    kind: str
    """equal, substitute, delete or insert."""
    reference: str
    hypothesis: str


def align(reference: str, hypothesis: str, normalize: Callable[[str], str]) -> tuple[AlignedWord, ...]:
    """Align two texts as they are scored: normalised, with the fewest word errors.

    Example:
        >>> [word.kind for word in align("press the pound key twice", "press pound keys twice now", str)]
        ['equal', 'delete', 'equal', 'substitute', 'equal', 'insert']
    """
    said, written = (separate_words(normalize(text)).split() for text in (reference, hypothesis))
    (aligned,) = align_units([said], [written])
    return aligned


def align_units(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]
) -> list[tuple[AlignedWord, ...]]:
    """Align texts that are cut into words, all in one call. No word holds white space.

    Example:
        >>> align_units([["a", "b"]], [["b"]])
        [(AlignedWord(kind='delete', reference='a', hypothesis=''), AlignedWord(kind='equal', ...))]
    """
    if not references:
        return []
    said_texts, written_texts = ([" ".join(words) for words in side] for side in (references, hypotheses))
    alignments = jiwer.process_words(said_texts, written_texts).alignments
    return [
        tuple(_aligned(chunks, said, written))
        for chunks, said, written in zip(alignments, references, hypotheses, strict=True)
    ]


def _aligned(
    chunks: Sequence[jiwer.AlignmentChunk], said: Sequence[str], written: Sequence[str]
) -> Iterator[AlignedWord]:
    for chunk in chunks:
        references = said[chunk.ref_start_idx : chunk.ref_end_idx]
        hypotheses = written[chunk.hyp_start_idx : chunk.hyp_end_idx]
        longest = max(len(references), len(hypotheses))
        for reference, hypothesis in zip(
            _padded(references, longest), _padded(hypotheses, longest), strict=True
        ):
            yield AlignedWord(chunk.type, reference, hypothesis)


def _padded(words: Sequence[str], length: int) -> list[str]:
    return [*words, *[""] * (length - len(words))]
