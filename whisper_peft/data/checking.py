"""Which rows can be learned from, told from their text and the headers of their recordings.

Reasons, beside those of `whisper_peft.data.audio.decoding`: `empty-text`, `too-short` and `too-long` (by
data.min_duration_s and data.max_duration_s), `label-too-long` (more tokens than the decoder has positions),
`special-token` (a text with `<|endoftext|>` or the like, which the tokenizer would take for the token), and
those of `whisper_peft.data.sources.rows` and of the sources themselves. What only decoding shows (damage
inside a file, NaN, silence) is counted when it is met.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from whisper_peft.data.audio.decoding import header_duration_s
from whisper_peft.data.sources.opening import Source
from whisper_peft.errors import AudioError, DataError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import MAX_LABEL_TOKENS, Utterance

NO_EXAMPLES: Mapping[str, tuple[str, ...]] = MappingProxyType({})

ROWS_TO_JUDGE = 200
"""Rows of a stream before anything is said about their share that cannot be used."""

_LONGEST_TOKEN = 128
"""Characters in the longest token of Whisper's vocabularies: a text of megabytes need not be tokenised."""

_SPECIAL_TOKEN = re.compile(r"<\|[\w.]*\|>")

_EXAMPLES = 3
"""Ids that a message gives for each reason."""


@dataclass(frozen=True)
class RowCheck:
    """The rows that can be used, and how many cannot, by reason."""

    kept: tuple[Utterance, ...]
    """With `duration_s` from the recording's header; None where only decoding can tell."""
    skipped: Mapping[str, int]
    examples: Mapping[str, tuple[str, ...]]
    """The first ids of each reason."""
    hours: float
    """Length of the kept recordings."""

    def sentence(self) -> str:
        """Say in one line what was kept and what was not.

        Example:
            >>> RowCheck((), {"missing": 2}, {"missing": ("a", "b")}, 0.0).sentence()
            '0 of 2 rows kept (0.00 h); missing: 2 (a, b)'
        """
        total = len(self.kept) + sum(self.skipped.values())
        kept = f"{len(self.kept)} of {total} rows kept ({self.hours:.2f} h)"
        return "; ".join([kept, *_counted(self.skipped, self.examples)])


def check_rows(
    source: Source,
    *,
    section: DataSection,
    label_length: Callable[[Utterance], int],
    max_label_tokens: int = MAX_LABEL_TOKENS,
) -> RowCheck:
    """Look through a local source, before anything expensive begins.

    Args:
        source: A source whose rows bring no recordings along (`is_stream` is False).
        section: The bounds of the durations.
        label_length: Tokens that a row's transcript and prefix take.
        max_label_tokens: Positions that the decoder has.

    Raises:
        DataError: If no row is left, or more than `data.max_skipped_share` cannot be used.

    Example:
        >>> from whisper_peft.data.sources.opening import open_source
        >>> section = DataSection(source=[{"audio": "no.wav", "text": "A"}])
        >>> check_rows(open_source(section, "all"), section=section, label_length=lambda row: 5)
        Traceback (most recent call last):
        whisper_peft.errors.DataError: no row of ... can be used - missing: 1 (row:0) - mend ...
    """
    kept: list[Utterance] = []
    refused: dict[str, list[str]] = {}
    for utterance in source:
        checked, reason = check_row(
            utterance, section=section, label_length=label_length, max_label_tokens=max_label_tokens
        )
        if reason is None:
            kept.append(checked)
        else:
            refused.setdefault(reason, []).append(utterance.id)
    counts = Counter({reason: len(ids) for reason, ids in refused.items()}) + Counter(source.skipped)
    examples = {reason: tuple(ids[:_EXAMPLES]) for reason, ids in refused.items()}
    hours = sum(utterance.duration_s or 0.0 for utterance in kept) / 3600
    check = RowCheck(tuple(kept), dict(counts), examples, hours)
    if not kept:
        why = check.sentence().partition("; ")[2] or "there are no rows"
        raise DataError(f"no row of {source.name} can be used", why, "mend the rows or name another source")
    refuse_too_many(source.name, len(kept) + counts.total(), counts, section=section, examples=examples)
    return check


def refuse_too_many(
    name: str,
    met: int,
    skipped: Mapping[str, int],
    *,
    section: DataSection,
    examples: Mapping[str, tuple[str, ...]] = NO_EXAMPLES,
) -> None:
    """Refuse a source of which too many rows are left out: that is rarely meant.

    Args:
        name: The source.
        met: Rows that were looked at.
        skipped: Those that are left out, by reason.
        section: How many may be left out.
        examples: The first ids of each reason.

    Raises:
        DataError: If it is more than `data.max_skipped_share` of the rows.

    Example:
        >>> refuse_too_many("a.csv", 10, {"missing": 8}, section=DataSection())
        Traceback (most recent call last):
        whisper_peft.errors.DataError: 80.0 % of the rows of a.csv cannot be used - missing: 8 - mend ...
    """
    share = sum(skipped.values()) / max(met, 1)
    if share <= section.max_skipped_share:
        return
    what = f"{100 * share:.1f} % of the rows of {name} cannot be used"
    todo = f"mend them, or raise data.max_skipped_share (now {section.max_skipped_share:g}) to leave them out"
    raise DataError(what, "; ".join(_counted(skipped, examples)), todo)


def check_row(
    utterance: Utterance,
    *,
    section: DataSection,
    label_length: Callable[[Utterance], int],
    max_label_tokens: int = MAX_LABEL_TOKENS,
) -> tuple[Utterance, str | None]:
    """Return a row with its duration, and the reason why it cannot be used, None if there is none.

    Example:
        >>> import numpy as np
        >>> row = Utterance("a", np.ones(160_000), "word " * 500, sampling_rate=16_000)
        >>> check_row(row, section=DataSection(), label_length=lambda row: 505)[1]
        'label-too-long'
    """
    if not utterance.text.strip():
        return utterance, "empty-text"
    if _SPECIAL_TOKEN.search(utterance.text):
        return utterance, "special-token"
    try:
        duration_s = header_duration_s(
            utterance.audio, utterance.sampling_rate, start_s=utterance.start_s, end_s=utterance.end_s
        )
    except AudioError as error:
        return utterance, error.reason
    checked = dataclasses.replace(utterance, duration_s=duration_s)
    if duration_s is not None and duration_s < section.min_duration_s:
        return checked, "too-short"
    if duration_s is not None and duration_s > section.max_duration_s:
        return checked, "too-long"
    is_vast = len(checked.text) > max_label_tokens * _LONGEST_TOKEN
    return checked, "label-too-long" if is_vast or label_length(checked) > max_label_tokens else None


def _counted(skipped: Mapping[str, int], examples: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for reason, count in sorted(skipped.items()):
        yield f"{reason}: {count}{_such_as(examples.get(reason, ()), count)}"


def _such_as(ids: tuple[str, ...], count: int) -> str:
    return f" ({', '.join(ids)}{', ...' if count > len(ids) else ''})" if ids else ""
