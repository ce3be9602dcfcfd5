"""From a micro-batch of windows to tensors: decode, augment, label, lay end to end. Runs in the workers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.batches.audio_contexts import WINDOW_FRAMES, AudioContexts
from whisper_peft.data.batches.batching import MicroBatch, Recording, Window
from whisper_peft.data.effects.augmentation import Augmentation
from whisper_peft.data.effects.spectrogram_masks import draw_masks
from whisper_peft.data.randomness import utterance_rng
from whisper_peft.data.targets.labels import IGNORED, PLAIN, Labeller, Target, TargetKind
from whisper_peft.data.targets.no_speech import NoSpeech, Quiet
from whisper_peft.data.targets.target_draws import TargetDraws
from whisper_peft.data.targets.timestamps import place, stretched
from whisper_peft.errors import AudioError
from whisper_peft.recipe.sections import SpecAugment
from whisper_peft.types import FRAMES_PER_SECOND, MAX_LABEL_TOKENS, SAMPLING_RATE, Utterance, Waveform

SAMPLES_PER_FRAME = SAMPLING_RATE // FRAMES_PER_SECOND
MASK_STREAM = "spec-augment"
"""Separates the draws of the spectrogram masks from those of the waveform augmentations."""

NO_SPEECH = "no_speech"
"""Name under which windows without speech are counted."""

KINDS = ("timestamps", "previous_text", "long_form", NO_SPEECH)
"""What windows are counted as, beside plain text."""

UNKNOWN = Recording()
"""What stands for a recording that nobody recognises."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What the model hears and must write: windows of any length, their texts end to end, nothing padded.

    Attributes:
        samples: Those of all windows at 16 kHz, shape `(samples,)`; a known recording has none.
        sample_counts: Samples of each window.
        frames: Log-mel frames of each window's audio context, even.
        token_counts: Decoder positions of each window.
        decoder_input_ids: Those of all windows, shape `(tokens,)`.
        labels: Shape `(tokens,)`, `IGNORED` where there is no target.
        keep: True where the log-mel of the windows is kept, shape `(mel bins, all frames)`; None without
            SpecAugment.
        audio_seconds: Speech in the batch.
        kinds: Windows by what is learned from them, beside plain text: `timestamps`, `previous_text`,
            `long_form`, `no_speech`.
        epoch: Epoch that the rows belong to, from 0.
        step_in_epoch: Optimiser step within the epoch, from 0.
        skipped: `(utterance id, reason)` of rows that could not be used.
        recordings: That of each window, where recordings are recognised.
    """

    samples: Tensor
    sample_counts: tuple[int, ...]
    frames: tuple[int, ...]
    token_counts: tuple[int, ...]
    decoder_input_ids: Tensor
    labels: Tensor
    keep: Tensor | None
    audio_seconds: float
    epoch: int
    step_in_epoch: int
    skipped: tuple[tuple[str, str], ...] = field(default=())
    kinds: Mapping[str, int] = field(default_factory=dict)
    recordings: tuple[Recording, ...] = field(default=())

    @property
    def target_tokens(self) -> int:
        """Number of positions that have a target."""
        return int((self.labels != IGNORED).sum())


@dataclass(frozen=True)
class _Heard:
    """A window as it sounds and reads."""

    id: str
    waveform: Waveform
    target: Target
    kinds: tuple[str, ...] = ()
    recording: Recording = UNKNOWN

    @property
    def samples(self) -> int:
        return self.recording.samples if self.recording.is_known else len(self.waveform)

    @property
    def speech_samples(self) -> int:
        return 0 if NO_SPEECH in self.kinds else self.samples

    @property
    def real_frames(self) -> int:
        return min(-(-len(self.waveform) // SAMPLES_PER_FRAME), WINDOW_FRAMES)


@dataclass(frozen=True)
class Collator:
    """Turn micro-batches into batches; the same rows give the same tensors in any process.

    Args:
        labeller: Builds decoder inputs and labels.
        augmentation: Changes the waveforms.
        spec_augment: Masks on the log-mel spectrogram.
        contexts: Choose how much the encoder hears of each window.
        num_mel_bins: Height of the spectrogram.
        seed: Seed of the run.
        draws: Choose how each window is written.
        quiet: What is heard in windows without speech.
    """

    labeller: Labeller
    augmentation: Augmentation
    spec_augment: SpecAugment
    contexts: AudioContexts
    num_mel_bins: int
    seed: int
    draws: TargetDraws = field(default_factory=TargetDraws)
    quiet: Quiet = field(default_factory=Quiet)

    def __call__(self, micro_batch: MicroBatch) -> Batch:
        """Return the batch of a micro-batch. Rows that cannot be decoded are left out and named."""
        skipped: list[tuple[str, str]] = []
        heard = list(itertools.chain.from_iterable(self._hear(micro_batch, skipped)))
        scored = micro_batch.scored and bool(heard)
        windows = heard or [self._silence()]
        frames = tuple(self._frames(window, micro_batch.epoch) for window in windows)
        labels = torch.tensor([label for window in windows for label in window.target.labels])
        return Batch(
            samples=torch.from_numpy(np.concatenate([window.waveform for window in windows])),
            sample_counts=tuple(len(window.waveform) for window in windows),
            frames=frames,
            token_counts=tuple(len(window.target.labels) for window in windows),
            decoder_input_ids=torch.tensor(
                [token for window in windows for token in window.target.decoder_input_ids]
            ),
            labels=labels if scored else torch.full_like(labels, IGNORED),
            keep=self._keep(windows, frames, micro_batch.epoch),
            audio_seconds=sum(one.speech_samples for one in heard) / SAMPLING_RATE if scored else 0.0,
            epoch=micro_batch.epoch,
            step_in_epoch=micro_batch.step_in_epoch,
            skipped=tuple(skipped) if micro_batch.scored else (),
            kinds=Counter(kind for one in heard for kind in one.kinds) if scored else {},
            recordings=tuple(one.recording for one in windows) if micro_batch.recordings else (),
        )

    def _hear(self, micro_batch: MicroBatch, skipped: list[tuple[str, str]]) -> Iterator[list[_Heard]]:
        recordings = micro_batch.recordings or (UNKNOWN,) * len(micro_batch.windows)
        for window, recording in zip(micro_batch.windows, recordings, strict=True):
            kind = self.draws.kind(window, epoch=micro_batch.epoch)
            if recording.is_known:
                yield [self._known(window, recording, kind)]
                continue
            usable = []
            for utterance in window:
                try:
                    usable.append(self._decode(utterance, micro_batch.epoch))
                except AudioError as error:
                    skipped.append((utterance.id, error.reason))
            names = self._names(window, kind)
            yield [replace(one, recording=recording, kinds=names) for one in self._joined(usable, kind)]

    def _names(self, window: Window, kind: TargetKind) -> tuple[str, ...]:
        """Return what a window is counted as."""
        told = kind.previous_text and window[0].previous_text is not None
        long_form, silent = self.draws.is_long_form(window), isinstance(window[0], NoSpeech)
        holds = (kind.timestamps, told, long_form, silent)
        return tuple(itertools.compress(KINDS, holds))

    def _known(self, window: Window, recording: Recording, kind: TargetKind) -> _Heard:
        """Return a window that need not be heard again: it lasts what was noted of it."""
        placed = place(window, [recording.samples / SAMPLING_RATE])
        target = self.labeller.window(placed, kind)
        return _Heard(window[0].id, np.zeros(0, np.float32), target, self._names(window, kind), recording)

    def _decode(self, utterance: Utterance, epoch: int) -> Utterance:
        """Return an utterance as it sounds in this epoch.

        Raises:
            AudioError: If it cannot be decoded, or is too long after all: a header may lie, or not tell, and
                cut speech with its whole text would teach to invent.
        """
        rng = utterance_rng(self.seed, epoch, utterance.id)
        if isinstance(utterance, NoSpeech):
            return self.quiet(utterance, rng)
        decoded = decode(utterance)
        changed = self.augmentation(decoded, rng)
        if len(changed.waveform) > (WINDOW_FRAMES + 1) * SAMPLES_PER_FRAME:
            raise AudioError(f"utterance {utterance.id} does not fit Whisper's window", reason="too-long")
        return stretched(changed, len(changed.waveform) / len(decoded.waveform))

    def _joined(self, utterances: Sequence[Utterance], kind: TargetKind = PLAIN) -> list[_Heard]:
        """Return utterances as one window; as more where they are longer than planned."""
        if not utterances:
            return []
        waveform = np.concatenate([utterance.waveform for utterance in utterances])
        durations = [len(utterance.waveform) / SAMPLING_RATE for utterance in utterances]
        target = self.labeller.window(place(utterances, durations), kind)
        too_long = len(waveform) > WINDOW_FRAMES * SAMPLES_PER_FRAME or len(target.labels) > MAX_LABEL_TOKENS
        if too_long and len(utterances) > 1:
            half = len(utterances) // 2
            return [*self._joined(utterances[:half], kind), *self._joined(utterances[half:], kind)]
        return [_Heard(utterances[0].id, waveform[: WINDOW_FRAMES * SAMPLES_PER_FRAME], target)]

    def _silence(self) -> _Heard:
        """Return a second of it: a process without a usable row keeps step with the others."""
        return _Heard("", np.zeros(SAMPLING_RATE, np.float32), Target((0,), (IGNORED,)))

    def _frames(self, window: _Heard, epoch: int) -> int:
        if window.recording.is_known:
            return window.recording.frames
        return self.contexts.frames(window.id, epoch=epoch, real_frames=window.real_frames)

    def _keep(self, windows: Sequence[_Heard], frames: Sequence[int], epoch: int) -> Tensor | None:
        if self.spec_augment.p == 0:
            return None
        keep = []
        for window, count in zip(windows, frames, strict=True):
            rng = utterance_rng(self.seed, epoch, f"{MASK_STREAM} {window.id}")
            keep.append(draw_masks(self.num_mel_bins, count, window.real_frames, self.spec_augment, rng))
        # one tensor, not one a window: each that a worker sends holds a file descriptor open
        return torch.from_numpy(np.concatenate(keep, axis=1))
