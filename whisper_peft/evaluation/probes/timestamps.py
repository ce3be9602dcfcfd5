"""Whether a model still writes timestamps, and how near they are to where utterances were joined."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from whisper_peft.data.targets.timestamps import TIMESTAMP_S
from whisper_peft.evaluation.generation import (
    AudioContext,
    Generation,
    decode_states,
    decoder_prefix,
    encode,
    listening,
    token_id,
)
from whisper_peft.evaluation.probes.stitched import Stitched
from whisper_peft.model.adapters.folding import folded
from whisper_peft.model.loading import Whisper
from whisper_peft.types import SAMPLING_RATE, TimestampProbe

TOLERANCE_S = 0.02
"""By how much a timestamp may lie past the end of the speech: its own rounding."""

NEAR_S = 0.5
"""A boundary is found where a timestamp is at most this far from it."""


def probe_timestamps(
    whisper: Whisper,
    windows: Sequence[Stitched],
    *,
    task: str = "transcribe",
    audio_context: AudioContext = "full",
    batch_size: int = 8,
) -> TimestampProbe:
    """Ask a model for timestamps of windows with known boundaries.

    Whether they are well formed is asked without Whisper's rules for them, which would force it: the first is
    given, the rest is free. Where they are is asked with these rules, as transcription does.

    Args:
        whisper: Model and companions.
        windows: Of at most 30 s each; the boundaries are those between their utterances.
        task: transcribe or translate.
        audio_context: full: 30 s; cut: as long as the speech.
        batch_size: Windows transcribed together.
    """
    begin = token_id(whisper, "<|notimestamps|>") + 1
    well_formed = 0
    distances: list[float] = []
    with folded(whisper):
        for start in range(0, len(windows), batch_size):
            batch = windows[start : start + batch_size]
            free, ruled = _generate(whisper, batch, task, audio_context, begin)
            for window, written, timed in zip(batch, free, ruled, strict=True):
                tokens = [begin, *written.tokens]
                end_s = window.ends_s[-1]
                well_formed += not written.looping and is_well_formed(tokens, begin=begin, end_s=end_s)
                distances += boundary_distances(timed.tokens, window.ends_s[:-1], begin=begin, end_s=end_s)
    return TimestampProbe(
        windows=len(windows),
        well_formed=well_formed / max(len(windows), 1),
        boundaries=len(distances),
        boundary_error_s=sum(distances) / len(distances) if distances else None,
        boundaries_found=sum(one <= NEAR_S for one in distances) / len(distances) if distances else None,
    )


def _generate(
    whisper: Whisper, windows: Sequence[Stitched], task: str, audio_context: AudioContext, begin: int
) -> tuple[list[Generation], list[Generation]]:
    """Return what is written after <|0.00|> without rules, and what is written with them."""
    waveforms = [window.waveform for window in windows]
    prefixes = [decoder_prefix(whisper, window.language, task, timestamps=True) for window in windows]
    seconds = [len(waveform) / SAMPLING_RATE for waveform in waveforms]
    with listening(whisper):
        states = encode(whisper, waveforms, audio_context=audio_context)
        opened = [[*prefix, begin] for prefix in prefixes]
        free = decode_states(whisper, states, opened, seconds=seconds)
        return free, decode_states(whisper, states, prefixes, seconds=seconds, timestamps=True)


def is_well_formed(tokens: Sequence[int], *, begin: int, end_s: float) -> bool:
    """Tell whether tokens are segments: a timestamp, text, a timestamp, none before the last or past the end.

    Args:
        tokens: What was generated, without end-of-text.
        begin: Id of <|0.00|>.
        end_s: Where the speech ends.

    Example:
        >>> is_well_formed([100, 7, 150, 150, 8, 200], begin=100, end_s=2.0)
        True
        >>> is_well_formed([100, 7, 150, 8, 200], begin=100, end_s=2.0)
        False
    """
    stamps = [token for token in tokens if token >= begin]
    if not stamps or (stamps[-1] - begin) * TIMESTAMP_S > end_s + TOLERANCE_S:
        return False
    if any(after < before for before, after in itertools.pairwise(stamps)):
        return False
    runs = [(stamp, len(list(run))) for stamp, run in itertools.groupby(token >= begin for token in tokens)]
    lengths = [length for stamp, length in runs if stamp]
    framed = len(runs) >= 3 and runs[0][0] and runs[-1][0]
    return framed and lengths == [1, *[2] * (len(lengths) - 2), 1]


def boundary_distances(
    tokens: Sequence[int], boundaries_s: Sequence[float], *, begin: int, end_s: float
) -> Iterator[float]:
    """Yield how far the nearest timestamp is from each boundary; the window's own ends count as timestamps.

    Example:
        >>> [round(one, 2) for one in boundary_distances([100, 7, 150, 150, 8], [1.2], begin=100, end_s=5.0)]
        [0.2]
    """
    written = [(token - begin) * TIMESTAMP_S for token in tokens if token >= begin]
    for boundary_s in boundaries_s:
        yield min(abs(boundary_s - one) for one in (0.0, end_s, *written))
