"""Whisper's log-mel spectrogram, batched, in torch, on any device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from whisper_peft.types import FRAMES_PER_SECOND, SAMPLING_RATE, WINDOW_S

HOP_LENGTH = SAMPLING_RATE // FRAMES_PER_SECOND
"""Samples between two frames: 160, or 10 ms."""

N_FFT = 400
"""Samples under one Fourier window: 25 ms."""

MAX_FRAMES = int(WINDOW_S * FRAMES_PER_SECOND)
"""Frames of Whisper's 30 s window: 3000."""

FRAMES_AT_ONCE = MAX_FRAMES
"""Frames whose spectrum is held: of a whole batch it would be fresh memory in every call, which costs a CPU
as much as the arithmetic."""

_DYNAMIC_RANGE = 8.0
_FLOOR = 1e-10
_SILENCE = -10.0
"""Logarithm of the floor: what every frame without a sample holds, so that it need not be computed."""


def _mel_filters(num_mel_bins: int) -> Tensor:
    """Return Slaney's mel filters from 0 to 8 kHz, shape `(mels, N_FFT // 2 + 1)`, in fp32."""
    filters = mel_filter_bank(
        num_frequency_bins=N_FFT // 2 + 1,
        num_mel_filters=num_mel_bins,
        min_frequency=0.0,
        max_frequency=SAMPLING_RATE / 2,
        sampling_rate=SAMPLING_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(np.ascontiguousarray(filters.T, dtype=np.float32))


class LogMel(torch.nn.Module):
    """Turn waveforms into Whisper's input features, as `WhisperFeatureExtractor` does within 1e-4.

    The spectrogram is always fp32, also under autocast: the logarithm of a quiet frame needs the range.

    Args:
        num_mel_bins: 80, or 128 for large-v3 and turbo (`config.num_mel_bins`).

    Example:
        >>> LogMel(80)(torch.zeros(2, 16_000), frames=100).shape
        torch.Size([2, 80, 100])
    """

    filters: Tensor
    window: Tensor

    def __init__(self, num_mel_bins: int) -> None:
        super().__init__()
        self.register_buffer("filters", _mel_filters(num_mel_bins), persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    @torch.no_grad()
    def forward(self, waveforms: Tensor, *, frames: int = MAX_FRAMES) -> Tensor:
        """Return the first `frames` frames of each clip's 30 s log-mel spectrogram.

        A clip is padded with zeros, or cut, to `frames` * 160 samples. The dynamic range is clamped at the
        clip's own maximum, as in openai/whisper's `audio.py`.

        Args:
            waveforms: fp32 samples at 16 kHz, zero padded, shape `(batch, samples)`.
            frames: Frames to return, 1 to 3000.

        Returns:
            fp32 features, shape `(batch, mels, frames)`.

        Raises:
            ValueError: If `frames` is not within the 30 s window.
        """
        if not 1 <= frames <= MAX_FRAMES:
            raise ValueError(f"frames is {frames}, outside 1..{MAX_FRAMES}")
        # Windows reach 200 samples to each side of their centre, so two frames after the cut still hear the
        # clip's end, and one of them may hold the maximum.
        waveforms = waveforms[:, : frames * HOP_LENGTH].float()
        heard = min(-(-waveforms.shape[1] // HOP_LENGTH) + 2, MAX_FRAMES)
        waveforms = torch.nn.functional.pad(waveforms, (0, heard * HOP_LENGTH - waveforms.shape[1]))
        with torch.autocast(waveforms.device.type, enabled=False):
            log_mel = self._log_mel(waveforms)
        loudest = log_mel.amax(dim=(1, 2), keepdim=True)
        if frames > heard:
            log_mel = torch.nn.functional.pad(log_mel, (0, frames - heard), value=_SILENCE)
        log_mel = log_mel.clamp_(min=loudest - _DYNAMIC_RANGE).add_(4.0).div_(4.0)
        return log_mel[..., :frames].contiguous()

    def _log_mel(self, waveforms: Tensor) -> Tensor:
        frames = waveforms.shape[1] // HOP_LENGTH
        clips = waveforms.split(max(1, FRAMES_AT_ONCE // frames))
        log_mel = waveforms.new_empty(len(waveforms), len(self.filters), frames)
        for mel, some in zip(log_mel.split(len(clips[0])), clips, strict=True):
            torch.matmul(self.filters, self._power(some), out=mel)
        return log_mel.clamp_(min=_FLOOR).log10_()

    def _power(self, waveforms: Tensor) -> Tensor:
        spectrum = torch.stft(waveforms, N_FFT, HOP_LENGTH, window=self.window, return_complex=True)
        spectrum = spectrum[..., :-1]
        return spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)  # without abs()'s square root
