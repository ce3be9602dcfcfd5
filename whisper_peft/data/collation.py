"""From a micro-batch of rows to tensors: decode, augment, label, pad. Runs in worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from whisper_peft.data.augmentation import Augmentation
from whisper_peft.data.batching import MicroBatch
from whisper_peft.data.decoding import decode
from whisper_peft.data.labels import IGNORED, Labeller, Target
from whisper_peft.data.randomness import utterance_rng
from whisper_peft.data.spectrogram_masks import draw_masks
from whisper_peft.errors import AudioError
from whisper_peft.recipe.sections import SpecAugment
from whisper_peft.types import FRAMES_PER_SECOND, SAMPLING_RATE, Utterance, Waveform

SAMPLES_PER_FRAME = SAMPLING_RATE // FRAMES_PER_SECOND
MASK_STREAM = "spec-augment"
"""Separates the draws of the spectrogram masks from those of the waveform augmentations."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What the model hears and must write, padded with zeros on the right.

    Attributes:
        waveforms: Samples at 16 kHz, shape `(rows, samples)`.
        frames: Log-mel frames of the audio context.
        decoder_input_ids: Shape `(rows, tokens)`.
        labels: Shape `(rows, tokens)`, `IGNORED` where there is no target.
        real_frames: Log-mel frames of each row that hold speech, shape `(rows,)`.
        keep: True where the log-mel is kept, shape `(rows, mel bins, frames)`; None without SpecAugment.
        audio_seconds: Unpadded speech in the batch.
        epoch: Epoch that the rows belong to, from 0.
        step_in_epoch: Optimiser step within the epoch, from 0.
        skipped: `(utterance id, reason)` of rows that could not be used.
    """

    waveforms: Tensor
    frames: int
    decoder_input_ids: Tensor
    labels: Tensor
    real_frames: Tensor
    keep: Tensor | None
    audio_seconds: float
    epoch: int
    step_in_epoch: int
    skipped: tuple[tuple[str, str], ...] = field(default=())

    @property
    def target_tokens(self) -> int:
        """Number of positions that have a target."""
        return int((self.labels != IGNORED).sum())


@dataclass(frozen=True)
class Collator:
    """Turn micro-batches into batches; the same rows give the same tensors in any process.

    Args:
        labeller: Builds decoder inputs and labels.
        augmentation: Changes the waveforms.
        spec_augment: Masks on the log-mel spectrogram.
        num_mel_bins: Height of the spectrogram.
        pad_token_id: Fills decoder inputs on the right, where causal attention never looks from a target.
        seed: Seed of the run.
    """

    labeller: Labeller
    augmentation: Augmentation
    spec_augment: SpecAugment
    num_mel_bins: int
    pad_token_id: int
    seed: int

    def __call__(self, micro_batch: MicroBatch) -> Batch:
        """Return the batch of a micro-batch. Rows that cannot be decoded are left out and named."""
        heard, skipped = self._hear(micro_batch)
        waveforms = [utterance.waveform for utterance in heard] or [np.zeros(SAMPLING_RATE, np.float32)]
        targets = [self.labeller(utterance) for utterance in heard] or [self._empty_target()]
        labels = _padded([target.labels for target in targets], IGNORED)
        scored = micro_batch.scored and bool(heard)
        return Batch(
            waveforms=_stacked(waveforms, micro_batch.frames),
            frames=micro_batch.frames,
            decoder_input_ids=_padded([target.decoder_input_ids for target in targets], self.pad_token_id),
            labels=labels if scored else torch.full_like(labels, IGNORED),
            real_frames=torch.tensor([_real_frames(samples, micro_batch.frames) for samples in waveforms]),
            keep=self._keep(heard, micro_batch),
            audio_seconds=sum(len(samples) for samples in waveforms) / SAMPLING_RATE if scored else 0.0,
            epoch=micro_batch.epoch,
            step_in_epoch=micro_batch.step_in_epoch,
            skipped=tuple(skipped),
        )

    def _hear(self, micro_batch: MicroBatch) -> tuple[list[Utterance], list[tuple[str, str]]]:
        heard: list[Utterance] = []
        skipped: list[tuple[str, str]] = []
        for utterance in micro_batch.utterances:
            rng = utterance_rng(self.seed, micro_batch.epoch, utterance.id)
            try:
                changed = self.augmentation(decode(utterance), rng)
            except AudioError as error:
                skipped.append((utterance.id, error.reason))
                continue
            if len(changed.waveform) > (micro_batch.frames + 1) * SAMPLES_PER_FRAME:
                # a header may lie, or not tell; cut speech with its whole text would teach to invent
                skipped.append((utterance.id, "too-long"))
            else:
                heard.append(changed)
        return heard, skipped if micro_batch.scored else []

    def _empty_target(self) -> Target:
        return Target((self.pad_token_id,), (IGNORED,))

    def _keep(self, heard: Sequence[Utterance], micro_batch: MicroBatch) -> Tensor | None:
        if self.spec_augment.p == 0 or not heard:
            return None
        keep = np.ones((len(heard), self.num_mel_bins, micro_batch.frames), dtype=bool)
        for row, utterance in enumerate(heard):
            rng = utterance_rng(self.seed, micro_batch.epoch, f"{MASK_STREAM} {utterance.id}")
            real_frames = _real_frames(utterance.waveform, micro_batch.frames)
            keep[row] = draw_masks(self.num_mel_bins, micro_batch.frames, real_frames, self.spec_augment, rng)
        return torch.from_numpy(keep)


def _real_frames(waveform: Waveform, frames: int) -> int:
    return min(len(waveform) // SAMPLES_PER_FRAME, frames)


def _stacked(waveforms: Sequence[Waveform], frames: int) -> Tensor:
    stacked = torch.zeros(len(waveforms), max(len(samples) for samples in waveforms))
    for row, samples in zip(stacked, waveforms, strict=True):
        row[: len(samples)] = torch.from_numpy(samples)
    return stacked[:, : frames * SAMPLES_PER_FRAME]


def _padded(sequences: Sequence[Sequence[int]], fill: int) -> Tensor:
    padded = torch.full((len(sequences), max(map(len, sequences))), fill)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = torch.tensor(sequence)
    return padded
