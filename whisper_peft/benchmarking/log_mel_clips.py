"""Log-mel spectrograms of the same clips: ours in batches, the feature extractor's clip by clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import WhisperFeatureExtractor

from whisper_peft.benchmarking.comparison import LogMelComparison
from whisper_peft.evaluation.generation import audio_frames
from whisper_peft.measuring import Stopwatch
from whisper_peft.model.log_mel import HOP_LENGTH, MAX_FRAMES, LogMel
from whisper_peft.types import SAMPLING_RATE, Waveform


def compare_log_mel(
    waveforms: Sequence[Waveform], *, num_mel_bins: int, batch_size: int, rounds: int, device: torch.device
) -> LogMelComparison:
    """Time both on the same clips in turn, and take the largest difference.

    Args:
        waveforms: Decoded clips of at most 30 s.
        num_mel_bins: Of the model.
        batch_size: Clips that ours takes at a time, sorted by length.
        rounds: How often.
        device: Where ours computes.

    Example:
        >>> tone = np.sin(np.arange(16_000) / 8).astype(np.float32)
        >>> result = compare_log_mel(
        ...     [tone, tone[:8000]], num_mel_bins=80, batch_size=2, rounds=1, device=torch.device("cpu")
        ... )
        >>> result.max_difference < 1e-4
        True
    """
    extractor = WhisperFeatureExtractor(feature_size=num_mel_bins)
    log_mel = LogMel(num_mel_bins).to(device)
    clips = sorted(waveforms, key=len)
    batches = [clips[first : first + batch_size] for first in range(0, len(clips), batch_size)]
    _extract(extractor, clips[:1])
    _batched(log_mel, batches[:1], device)  # both have allocated and planned once
    theirs, own = [Stopwatch() for _ in range(rounds)], [Stopwatch() for _ in range(rounds)]
    for their_watch, own_watch in zip(theirs, own, strict=True):
        with their_watch:
            _extract(extractor, clips)
        with own_watch:
            _batched(log_mel, batches, device)
    real, padded = _differences(extractor, log_mel, batches, device)
    their_seconds = tuple(watch.seconds for watch in theirs)
    return LogMelComparison(len(clips), their_seconds, tuple(watch.seconds for watch in own), real, padded)


def _extract(extractor: WhisperFeatureExtractor, clips: Sequence[Waveform]) -> None:
    for clip in clips:
        extractor(clip, sampling_rate=SAMPLING_RATE)


def _batched(log_mel: LogMel, batches: Sequence[Sequence[Waveform]], device: torch.device) -> None:
    for batch in batches:
        log_mel(_padded(batch, device), frames=audio_frames(len(batch[-1]) / SAMPLING_RATE, "cut"))
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _padded(batch: Sequence[Waveform], device: torch.device) -> torch.Tensor:
    return pad_sequence([torch.from_numpy(clip) for clip in batch], batch_first=True).to(device)


def _differences(
    extractor: WhisperFeatureExtractor,
    log_mel: LogMel,
    batches: Sequence[Sequence[Waveform]],
    device: torch.device,
) -> tuple[float, float]:
    """Return the largest difference on real frames at cut context, and on the whole padded window."""
    real = padded = 0.0
    for batch in batches:
        waveforms = _padded(batch, device)
        cut = log_mel(waveforms, frames=audio_frames(len(batch[-1]) / SAMPLING_RATE, "cut")).cpu().numpy()
        full = log_mel(waveforms, frames=MAX_FRAMES).cpu().numpy()
        for row, clip in enumerate(batch):
            wanted = extractor(clip, sampling_rate=SAMPLING_RATE).input_features[0]
            frames = min(len(clip) // HOP_LENGTH, cut.shape[-1])
            real = np.maximum(real, np.abs(cut[row, :, :frames] - wanted[:, :frames]).max())
            padded = np.maximum(padded, np.abs(full[row] - wanted).max())
    return float(real), float(padded)
