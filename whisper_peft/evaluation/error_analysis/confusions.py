"""What was written instead of what: words, and characters inside words that are nearly right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from whisper_peft.evaluation.error_analysis.alignment import align_units
from whisper_peft.evaluation.error_analysis.values import Confusion
from whisper_peft.evaluation.error_analysis.words import Aligned, AlignedUtterance

MOST_LISTED = 15
"""Confusions of each kind, the commonest first."""

NEARLY_RIGHT = 0.5
"""Words are compared letter by letter where at most this share of the letters differs."""

KINDS = {"substituted": "substitute", "left_out": "delete", "added": "insert"}

Pair: TypeAlias = tuple[str, str]


def confusions(aligned: Aligned) -> Mapping[str, tuple[Confusion, ...]]:
    """Return the commonest confusions by kind; a kind that is not met has none."""
    counts = {
        name: {when: _words(rows, kind) for when, rows in aligned.items()} for name, kind in KINDS.items()
    }
    counts["characters"] = {when: _characters(pairs) for when, pairs in counts["substituted"].items()}
    listed = {name: _commonest(times) for name, times in counts.items()}
    return {name: found for name, found in listed.items() if found}


def _words(rows: Iterable[AlignedUtterance], kind: str) -> Counter[Pair]:
    return Counter(
        (word.reference, word.hypothesis) for row in rows for word in row.words if word.kind == kind
    )


def _characters(pairs: Mapping[Pair, int]) -> Counter[Pair]:
    """Count the characters that differ in words of more than one that are nearly right."""
    words = [pair for pair in pairs if min(map(len, pair)) > 1]
    found: Counter[Pair] = Counter()
    for pair, steps in zip(words, align_units(*zip(*words, strict=True)) if words else [], strict=True):
        wrong = [step for step in steps if step.kind != "equal"]
        if len(wrong) <= NEARLY_RIGHT * max(map(len, pair)):
            for step in wrong:
                found[step.reference, step.hypothesis] += pairs[pair]
    return found


def _commonest(times: Mapping[str, Counter[Pair]]) -> tuple[Confusion, ...]:
    """Return the pairs by how often they are met in all, and then in the order of the alphabet."""
    total = sum(times.values(), Counter[Pair]())
    ranked: Sequence[Pair] = sorted(total, key=lambda pair: (-total[pair], pair))[:MOST_LISTED]
    before, after = times.get("before"), times.get("after")
    return tuple(
        Confusion(*pair, None if before is None else before[pair], None if after is None else after[pair])
        for pair in ranked
    )
