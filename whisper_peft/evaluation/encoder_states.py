"""What the encoder heard of several clips, each as long as its own context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import WhisperForConditionalGeneration


@dataclass(frozen=True, slots=True)
class EncoderStates:
    """Encoder states of a batch whose rows may have contexts of different length.

    Attributes:
        hidden: Shape `(batch, positions, width)`, padded with zeros.
        lengths: Positions of each row that are not padding.
    """

    hidden: Tensor
    lengths: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> EncoderStates:
        """Return one row alone, without padding."""
        length = self.lengths[row]
        return EncoderStates(self.hidden[row : row + 1, :length], (length,))

    @property
    def mask(self) -> Tensor | None:
        """Which positions were heard, shape `(batch, positions)`; None where all were."""
        positions = self.hidden.shape[1]
        if min(self.lengths) == positions:
            return None
        heard = torch.tensor(self.lengths, device=self.hidden.device)
        return torch.arange(positions, device=self.hidden.device) < heard[:, None]


def pad_states(rows: Sequence[Tensor]) -> EncoderStates:
    """Return states of shape `(positions, width)` as one batch.

    Example:
        >>> states = pad_states([torch.ones(2, 4), torch.ones(3, 4)])
        >>> states.hidden.shape, states.lengths
        (torch.Size([2, 3, 4]), (2, 3))
        >>> states.mask.tolist()
        [[True, True, False], [True, True, True]]
    """
    return EncoderStates(pad_sequence(list(rows), batch_first=True), tuple(len(row) for row in rows))


@contextmanager
def cross_attention_within(model: WhisperForConditionalGeneration, mask: Tensor | None) -> Iterator[None]:
    """Let the decoder attend to nothing but the positions that were heard.

    transformers' Whisper takes no mask of the encoder's positions, while its cross-attention does: it is
    given there, by a hook on this one model.

    Args:
        model: Whisper.
        mask: What `EncoderStates.mask` says; None changes nothing.
    """
    if mask is None:
        yield
        return

    def give_mask(
        attention: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        beams = len(inputs[0]) // len(mask)
        heard = mask.repeat_interleave(beams, dim=0)[:, None, None, :]
        return inputs, {**options, "attention_mask": heard}

    hooks = [
        layer.encoder_attn.register_forward_pre_hook(give_mask, with_kwargs=True)
        for layer in model.model.decoder.layers
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
