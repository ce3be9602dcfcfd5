"""The training loss: summed over target tokens, projected to the vocabulary at those positions alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from whisper_peft.data.batches.batching import Recording
from whisper_peft.data.targets.labels import IGNORED
from whisper_peft.model.audio_context import VariableContextEncoder
from whisper_peft.model.loading import Whisper
from whisper_peft.model.log_mel import HOP_LENGTH, LogMel
from whisper_peft.model.segments import Segments
from whisper_peft.training.encoder_cache import EncoderCache
from whisper_peft.training.rank_allocation import adalora, orthogonality

PROJECTION_CHUNK = 1024
"""Target positions that a learning projection takes at a time: 1024 x 51866 logits in fp32 take 203 MiB."""

FROZEN_CHUNK = 256
"""The same of a frozen one, which keeps none of them: 51 MiB."""


class SpeechLoss(nn.Module):
    """From waveforms and labels to the summed cross-entropy, as one module that DDP can wrap.

    The encoder runs without gradient where nothing in it learns.

    Args:
        whisper: The model with its adapter attached.
        cache: Keeps the states of an encoder that does not learn; None: they are computed each time.
    """

    def __init__(self, whisper: Whisper, cache: EncoderCache | None = None) -> None:
        super().__init__()
        self.cache = cache
        self.model = whisper.model
        self.core = [whisper.core]
        self.log_mel = LogMel(whisper.num_mel_bins).to(whisper.device)
        self.precision = whisper.precision
        self.device = whisper.device
        encoder = whisper.core.get_encoder()
        self.adalora = [adalora(whisper.model)]
        self.encoder_learns = any(weight.requires_grad for weight in encoder.parameters())

    def forward(
        self,
        samples: Tensor,
        sample_counts: tuple[int, ...],
        frames: tuple[int, ...],
        token_counts: tuple[int, ...],
        decoder_input_ids: Tensor,
        labels: Tensor,
        keep: Tensor | None,
        recordings: tuple[Recording, ...] = (),
    ) -> Tensor:
        """Return the summed loss in nats over all positions with a target.

        Args:
            samples: Windows end to end at 16 kHz, shape `(samples,)`.
            sample_counts: Samples of each window.
            frames: Log-mel frames of each window's audio context.
            token_counts: Decoder positions of each window.
            decoder_input_ids: Shape `(tokens,)`.
            labels: Shape `(tokens,)`, `IGNORED` where there is no target.
            keep: Shape `(mel bins, all frames)`, False where SpecAugment masks; None for no mask.
            recordings: That of each window, where there is a cache.
        """
        windows = samples.split(sample_counts)
        with self.precision.autocast(self.device):
            if self.cache is None:
                states = self._encode(self._features(windows, frames, keep))
            else:
                states = self._kept_states(self.cache, windows, frames, recordings)
        segments = Segments(tuple(count // 2 for count in frames), token_counts)
        return self.decoder_loss(states, segments, decoder_input_ids, labels)

    def decoder_loss(
        self, states: Tensor, segments: Segments, decoder_input_ids: Tensor, labels: Tensor
    ) -> Tensor:
        """Return the loss of what the decoder writes, given the encoder's states of all windows."""
        (core,) = self.core
        with self.precision.autocast(self.device):
            hidden = core.get_decoder()(
                input_ids=decoder_input_ids[None],
                position_ids=segments.token_positions(self.device),
                encoder_hidden_states=states,
                use_cache=False,
                segments=segments,
            )
            loss = target_loss(hidden.last_hidden_state[0], labels, core.proj_out)
        (tuner,) = self.adalora
        # the loop divides by the number of targets, so that all batches together add the regulariser once
        return loss if tuner is None else loss + orthogonality(tuner) * (labels != IGNORED).sum()

    def _features(
        self, windows: Sequence[Tensor], frames: Sequence[int], keep: Tensor | None
    ) -> list[Tensor]:
        """Return each window's log-mel features, shape `(mel bins, frames)`."""
        together = self.log_mel(pad_sequence(list(windows), batch_first=True), frames=max(frames))
        features = [clip[:, :count] for clip, count in zip(together, frames, strict=True)]
        if keep is not None:
            heard = [
                min(-(-len(window) // HOP_LENGTH), count)
                for window, count in zip(windows, frames, strict=True)
            ]
            masks = keep.split(list(frames), dim=1)
            features = [masked_with_mean(*clip) for clip in zip(features, masks, heard, strict=True)]
        return [clip.to(self.precision.weights_dtype) for clip in features]

    def _kept_states(
        self,
        cache: EncoderCache,
        windows: Sequence[Tensor],
        frames: Sequence[int],
        recordings: Sequence[Recording],
    ) -> Tensor:
        """Return the states of all windows end to end, each as the cache has it or would have it."""
        parts = []
        for window, count, recording in zip(windows, frames, recordings, strict=True):
            alone = partial(self._encode_alone, window, count)
            states = cache.states(recording, samples=len(window), frames=count, encode=alone)
            parts.append(states.to(self.device, non_blocking=True))
        return torch.cat(parts)[None].to(self.precision.weights_dtype)

    def _encode_alone(self, window: Tensor, frames: int) -> Tensor:
        return self._encode(self._features([window], [frames], None))[0]

    def _encode(self, features: Sequence[Tensor]) -> Tensor:
        (core,) = self.core
        encoder = cast(VariableContextEncoder, core.get_encoder())
        with torch.set_grad_enabled(self.encoder_learns and torch.is_grad_enabled()):
            return encoder.encode_segments(features)


def masked_with_mean(features: Tensor, keep: Tensor, real_frames: int) -> Tensor:
    """Return log-mel features with the masked cells at the mean of the clip's speech.

    Args:
        features: Shape `(mel bins, frames)`.
        keep: Same shape, False where masked.
        real_frames: Frames that hold speech: padding would lower the mean.
    """
    return torch.where(keep, features, features[:, : max(real_frames, 1)].mean())


def target_loss(hidden: Tensor, labels: Tensor, projection: nn.Module) -> Tensor:
    """Return the cross-entropy summed over the positions that have a target.

    Targets are projected in chunks, so that memory does not grow with their number. A frozen projection
    gives the gradient of its chunk at once; logits of one that learns are computed again on the way back.

    Args:
        hidden: Decoder states, shape `(tokens, d_model)`.
        labels: Shape `(tokens,)`.
        projection: From d_model to the vocabulary.
    """
    wanted = labels != IGNORED
    states, targets = hidden[wanted], labels[wanted]
    if not len(targets):
        # all that learns stays in the graph, the projection too: DDP waits for the gradient of each weight
        nothing: Tensor = (hidden.sum() + projection(hidden[:1]).sum()) * 0.0
        return nothing
    if type(projection) is nn.Linear and projection.bias is None and not projection.weight.requires_grad:
        frozen: Tensor = _FrozenProjectionLoss.apply(states, targets, projection.weight)
        return frozen
    if len(targets) <= PROJECTION_CHUNK:
        return _projected_loss(states, targets, projection)
    chunks = zip(states.split(PROJECTION_CHUNK), targets.split(PROJECTION_CHUNK), strict=True)
    losses = [checkpoint(_projected_loss, *chunk, projection, use_reentrant=False) for chunk in chunks]
    return torch.stack(losses).sum()


class _FrozenProjectionLoss(torch.autograd.Function):
    """The loss and its gradient in one pass, softmax - target, written over the logits of each chunk."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        loss = torch.zeros((), device=states.device)
        gradient = torch.empty_like(states)
        chunks = zip(*(one.split(FROZEN_CHUNK) for one in (states, targets, gradient)), strict=True)
        for part, wanted, grad in chunks:
            logits = nn.functional.linear(part.to(weight.dtype), weight).float()
            normaliser = logits.logsumexp(dim=1)
            rows = torch.arange(len(wanted), device=wanted.device)
            loss += (normaliser - logits[rows, wanted]).sum()
            logits.sub_(normaliser[:, None]).exp_()
            logits[rows, wanted] -= 1
            grad.copy_(logits.to(weight.dtype) @ weight)
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * gradients[0]).to(gradient.dtype), None, None


def _projected_loss(states: Tensor, targets: Tensor, projection: nn.Module) -> Tensor:
    return cross_entropy(projection(states).float(), targets, reduction="sum")
