"""What a window costs, in arithmetic: the currency that steps and processes share evenly."""

from __future__ import annotations

from dataclasses import dataclass, field

from whisper_peft.data.batches.audio_contexts import AudioContexts
from whisper_peft.data.batches.batching import Window
from whisper_peft.data.targets.labels import MAX_PREVIOUS_TOKENS
from whisper_peft.data.targets.target_draws import TargetDraws
from whisper_peft.types import FRAMES_PER_SECOND, WINDOW_S

BYTES_PER_TOKEN = 4.0
"""Bytes of text to a token, as English has them; only the balance of the batches hangs on it."""


def tokens_before(window: Window, draws: TargetDraws, *, epoch: int) -> float:
    """Return about how many tokens of the text before a window are read with it in an epoch."""
    text = window[0].previous_text
    if not text or not draws.kind(window, epoch=epoch).previous_text:
        return 0.0
    return min(len(text.encode()) / BYTES_PER_TOKEN, MAX_PREVIOUS_TOKENS)


@dataclass(frozen=True, slots=True)
class WorkModel:
    """Multiplications of a forward pass over one window, by encoder positions and decoder tokens.

    A linear layer costs by the position; attention between all pairs of positions adds the quadratic term.

    Args:
        position: Of each encoder position: its layers, convolutions, and the decoder's keys and values.
        pair: Of each pair of encoder positions.
        token: Of each decoder token, its vocabulary included.
        contexts: Tell how many positions a window has.
        draws: Tell which windows read the text before theirs.
    """

    position: float
    pair: float
    token: float
    contexts: AudioContexts
    draws: TargetDraws = field(default_factory=TargetDraws)

    @classmethod
    def of_whisper(
        cls,
        contexts: AudioContexts,
        draws: TargetDraws,
        *,
        d_model: int,
        encoder_layers: int,
        decoder_layers: int,
        encoder_ffn_dim: int,
        decoder_ffn_dim: int,
        vocab_size: int,
        num_mel_bins: int,
    ) -> WorkModel:
        """Return the work of a Whisper by the sizes in its configuration.

        A layer has four projections of d_model x d_model and two of d_model x ffn; scores and their sum over
        values take 2 x d_model a pair. The convolutions, of width 3, see two frames a position.
        """
        layer = 4 * d_model**2 + 2 * d_model * encoder_ffn_dim
        convolutions = 2 * 3 * num_mel_bins * d_model + 3 * d_model**2
        cross = 2 * d_model**2 * decoder_layers
        token = decoder_layers * (6 * d_model**2 + 2 * d_model * decoder_ffn_dim) + d_model * vocab_size
        position = encoder_layers * layer + convolutions + cross
        return cls(position, 2 * d_model * encoder_layers, token, contexts, draws)

    def __call__(self, window: Window, epoch: int) -> float:
        """Return the work of a window in an epoch."""
        seconds = min(sum(row.duration_s or WINDOW_S for row in window), WINDOW_S)
        frames = self.contexts.frames(window[0].id, epoch=epoch, real_frames=int(seconds * FRAMES_PER_SECOND))
        positions = frames // 2
        tokens = sum(len(row.text.encode()) for row in window) / BYTES_PER_TOKEN
        tokens += tokens_before(window, self.draws, epoch=epoch)
        return self.position * positions + self.pair * positions**2 + self.token * tokens
