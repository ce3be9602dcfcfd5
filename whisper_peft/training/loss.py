"""The training loss: summed over target tokens, projected to the vocabulary at those positions alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from whisper_peft.data.labels import IGNORED
from whisper_peft.model.loading import Whisper
from whisper_peft.model.log_mel import LogMel
from whisper_peft.training.rank_allocation import adalora, orthogonality

PROJECTION_CHUNK = 1024
"""Target positions projected at a time: 1024 x 51866 logits in fp32 take 203 MiB."""


class SpeechLoss(nn.Module):
    """From waveforms and labels to the summed cross-entropy, as one module that DDP can wrap.

    The encoder runs without gradient where nothing in it learns.

    Args:
        whisper: The model with its adapter attached.
    """

    def __init__(self, whisper: Whisper) -> None:
        super().__init__()
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
        waveforms: Tensor,
        frames: int,
        decoder_input_ids: Tensor,
        labels: Tensor,
        real_frames: Tensor,
        keep: Tensor | None,
    ) -> Tensor:
        """Return the summed loss in nats over all positions with a target.

        Args:
            waveforms: Shape `(rows, samples)`, 16 kHz.
            frames: Log-mel frames of the audio context.
            decoder_input_ids: Shape `(rows, tokens)`.
            labels: Shape `(rows, tokens)`, `IGNORED` where there is no target.
            real_frames: Log-mel frames of each row that hold speech, shape `(rows,)`.
            keep: Shape `(rows, mel bins, frames)`, False where SpecAugment masks; None for no mask.
        """
        (core,) = self.core
        features = self.log_mel(waveforms, frames=frames)
        if keep is not None:
            features = masked_with_mean(features, keep, real_frames)
        with self.precision.autocast(self.device):
            with torch.set_grad_enabled(self.encoder_learns and torch.is_grad_enabled()):
                states = core.get_encoder()(features.to(self.precision.weights_dtype)).last_hidden_state
            decoder = core.get_decoder()
            hidden = decoder(input_ids=decoder_input_ids, encoder_hidden_states=states, use_cache=False)
            loss = target_loss(hidden.last_hidden_state, labels, core.proj_out)
        (tuner,) = self.adalora
        # the loop divides by the number of targets, so that all batches together add the regulariser once
        return loss if tuner is None else loss + orthogonality(tuner) * (labels != IGNORED).sum()


def masked_with_mean(features: Tensor, keep: Tensor, real_frames: Tensor) -> Tensor:
    """Return log-mel features with the masked cells at the mean of their clip's speech.

    Args:
        features: Shape `(rows, mel bins, frames)`.
        keep: Same shape, False where masked.
        real_frames: Frames of each row that hold speech, shape `(rows,)`: padding would lower the mean.
    """
    speech = torch.arange(features.shape[-1], device=features.device) < real_frames[:, None, None]
    cells = (real_frames * features.shape[1]).clamp(min=1)[:, None, None]
    mean = (features * speech).sum(dim=(1, 2), keepdim=True) / cells
    return torch.where(keep, features, mean)


def target_loss(hidden: Tensor, labels: Tensor, projection: nn.Module) -> Tensor:
    """Return the cross-entropy summed over the positions that have a target.

    More than `PROJECTION_CHUNK` targets are projected in chunks whose logits are computed again in the
    backward pass, so that memory does not grow with the number of targets.

    Args:
        hidden: Decoder states, shape `(rows, tokens, d_model)`.
        labels: Shape `(rows, tokens)`.
        projection: From d_model to the vocabulary.
    """
    wanted = labels != IGNORED
    states, targets = hidden[wanted], labels[wanted]
    if not len(targets):
        # all that learns stays in the graph, the projection too: DDP waits for the gradient of each weight
        nothing: Tensor = (hidden.sum() + projection(hidden[:1, :1]).sum()) * 0.0
        return nothing
    if len(targets) <= PROJECTION_CHUNK:
        return _projected_loss(states, targets, projection)
    chunks = zip(states.split(PROJECTION_CHUNK), targets.split(PROJECTION_CHUNK), strict=True)
    losses = [checkpoint(_projected_loss, *chunk, projection, use_reentrant=False) for chunk in chunks]
    return torch.stack(losses).sum()


def _projected_loss(states: Tensor, targets: Tensor, projection: nn.Module) -> Tensor:
    return cross_entropy(projection(states).float(), targets, reduction="sum")
