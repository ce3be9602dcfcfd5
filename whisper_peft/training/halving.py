"""A micro-batch that does not fit the memory, dealt into parts: same step, less at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from whisper_peft.data.batching import equal_shares
from whisper_peft.data.collation import Batch


def parts_of(batch: Batch, parts: int) -> list[Batch]:
    """Return a batch in up to so many parts of about equal context, each of whole windows, in their order."""
    if parts == 1:
        return [batch]
    shares = equal_shares(batch.frames, min(parts, len(batch.frames)))
    return [_part(batch, share) for share in shares]


def most_windows(batches: Sequence[Batch]) -> int:
    """Return the windows of the batch that has most: dealt into more parts it gets no smaller."""
    return max(len(batch.frames) for batch in batches)


def _part(batch: Batch, share: range) -> Batch:
    samples = _stretch(batch.sample_counts, share)
    frames = _stretch(batch.frames, share)
    tokens = _stretch(batch.token_counts, share)
    chosen = slice(share.start, share.stop)
    return replace(
        batch,
        samples=batch.samples[samples],
        sample_counts=batch.sample_counts[chosen],
        frames=batch.frames[chosen],
        token_counts=batch.token_counts[chosen],
        decoder_input_ids=batch.decoder_input_ids[tokens],
        labels=batch.labels[tokens],
        keep=batch.keep if batch.keep is None else batch.keep[:, frames],
        recordings=batch.recordings[chosen],
    )


def _stretch(counts: Sequence[int], share: range) -> slice:
    """Return where the windows of a share lie in what is laid end to end."""
    ends = list(_ends(counts))
    return slice(ends[share.start], ends[share.stop])


def _ends(counts: Sequence[int]) -> Iterator[int]:
    return itertools.accumulate(counts, initial=0)
