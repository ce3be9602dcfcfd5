"""How often scored words stand in the training text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from whisper_peft.evaluation.units import separate_words


def count_training_words(
    texts: Iterable[str], wanted: Iterable[str], normalize: Callable[[str], str]
) -> dict[str, int]:
    """Return how often scored words stand in the training text.

    Each distinct word is normalised once, and alone, so that a large corpus takes seconds; what the
    normaliser makes of several words together, such as of a number, is not found.

    Args:
        texts: The training text.
        wanted: Normalised words to count.
        normalize: The normaliser that they were scored with.

    Example:
        >>> count_training_words(["The cat", "the CAT sat"], ["cat", "dog"], str.lower)
        {'cat': 2, 'dog': 0}
    """
    written = Counter(word for text in texts for word in text.split())
    counts = dict.fromkeys(wanted, 0)
    for word, count in written.items():
        for unit in separate_words(normalize(word)).split():
            if unit in counts:
                counts[unit] += count
    return counts


def scored_words(references: Iterable[str], normalize: Callable[[str], str]) -> frozenset[str]:
    """Return the words of references, as they are scored.

    Example:
        >>> sorted(scored_words(["The cat", "the dog"], str.lower))
        ['cat', 'dog', 'the']
    """
    return frozenset(word for text in references for word in separate_words(normalize(text)).split())
