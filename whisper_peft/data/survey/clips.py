"""Recordings to be played beside what is said of them: few, and small enough to travel inside a page."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence

import soundfile

from whisper_peft.data.survey.findings import ACTIONS, Suspect
from whisper_peft.types import SAMPLING_RATE, Waveform

MOST_CLIPS = 20
"""Recordings of a page: some 6 MB of speech of ten seconds each."""

MOST_OF_A_REASON = 4
"""Of each reason so many are heard first; what room is left goes to the gravest."""

LONGEST_S = 30.0

COMPRESSION = 0.8
"""Of MP3, from 0 to 1: some 30 kbit a second at 16 kHz, a fifth of FLAC; speech stays clear."""


def choose_clips(suspects: Sequence[Suspect]) -> list[Suspect]:
    """Return the rows to be heard: some of each reason, in the order given; all of them can be decoded.

    Example:
        >>> from whisper_peft.data.survey.findings import Reason
        >>> rows = [Suspect(str(n), "train", "", "", (Reason("noisy", ""),)) for n in range(30)]
        >>> len(choose_clips(rows))
        20
    """
    heard: Counter[str] = Counter()
    first: list[Suspect] = []
    rest: list[Suspect] = []
    for one in suspects:
        name = one.reasons[0].name
        if name not in ACTIONS:  # cannot be decoded
            continue
        heard[name] += 1
        (first if heard[name] <= MOST_OF_A_REASON else rest).append(one)
    chosen = {(one.split, one.id) for one in (first + rest)[:MOST_CLIPS]}
    return [one for one in suspects if (one.split, one.id) in chosen]


def encode_clip(waveform: Waveform) -> bytes:
    """Return a recording as FLAC, which every browser plays and nothing is lost in; cut at 30 s."""
    target = io.BytesIO()
    soundfile.write(target, _shortened(waveform), SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return target.getvalue()


def encode_small_clip(waveform: Waveform) -> bytes:
    """Return a recording as MP3, which every browser plays too, where hundreds go into a page; cut at 30 s.

    Example:
        >>> import numpy as np
        >>> len(encode_small_clip(np.zeros(16_000, np.float32))) < 5000
        True
    """
    target = io.BytesIO()
    soundfile.write(
        target,
        _shortened(waveform),
        SAMPLING_RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=COMPRESSION,
        bitrate_mode="VARIABLE",
    )
    return target.getvalue()


def _shortened(waveform: Waveform) -> Waveform:
    return waveform[: int(LONGEST_S * SAMPLING_RATE)]
