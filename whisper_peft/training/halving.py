"""A micro-batch that takes too much memory at once, dealt into parts: same step, less at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import torch

from whisper_peft.data.batches.batching import equal_shares
from whisper_peft.data.batches.collation import Batch
from whisper_peft.types import FRAMES_PER_SECOND

CPU_PART_S = 80.0
"""On two cores, tiny.en in fp32: whole micro-batches take 1.12 GiB at 48.0 audio-seconds a second, and 80, 60
and 40 s at a time 0.87, 0.82 and 0.69 GiB at 50.1, 45.9 and 44.8 (docs/results/README.md)."""


def parts_of(batch: Batch, parts: int) -> list[Batch]:
    """Return a batch in up to so many parts of about equal context, each of whole windows, in their order."""
    if parts == 1:
        return [batch]
    shares = equal_shares(batch.frames, min(parts, len(batch.frames)))
    return [_part(batch, share) for share in shares]


def longest_part_s(choice: float | Literal["auto"] | None, device: torch.device) -> float:
    """Return the audio seconds that are computed at once, infinite for whole micro-batches.

    Example:
        >>> longest_part_s("auto", torch.device("cpu")), longest_part_s("auto", torch.device("cuda"))
        (80.0, inf)
    """
    if choice == "auto":
        return CPU_PART_S if device.type == "cpu" else math.inf
    return math.inf if choice is None else choice


def parts_within(frames: Sequence[int], longest_s: float) -> int:
    """Return into how many parts windows of so many frames are dealt, for about `longest_s` in each.

    Example:
        >>> parts_within([3000, 3000, 3000], 80.0), parts_within([3000, 3000, 3000], math.inf)
        (2, 1)
    """
    return max(math.ceil(sum(frames) / FRAMES_PER_SECOND / longest_s), 1)


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
