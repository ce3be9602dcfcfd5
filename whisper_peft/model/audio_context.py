"""An encoder that hears as much as the speech lasts, instead of 30 s of mostly zeros.

Whisper's encoder adds a fixed sinusoid to each of its 1500 positions and attends over all of them. Nothing in
it needs 1500: fewer frames with the first positions cost proportionally less (`audio_ctx` in whisper.cpp).
Training goes further: clips of any lengths lie end to end in one row, each with its own context, and nothing
is padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers import WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils.output_capturing import _CAN_RECORD_REGISTRY, capture_outputs

from whisper_peft.errors import ModelError
from whisper_peft.model.segments import SEGMENTED, Segments

_Forward: TypeAlias = Callable[..., BaseModelOutput]

_capture_outputs: Callable[[_Forward], _Forward] = capture_outputs


class VariableContextEncoder(WhisperEncoder):
    """Whisper's encoder for any even number of frames up to the full window.

    A full window goes through transformers' own forward pass and is equal to it to the bit.
    """

    def forward(
        self, input_features: Tensor, attention_mask: Tensor | None = None, **options: Any
    ) -> BaseModelOutput:
        """Encode log-mel features of shape `(batch, mels, frames)` to `(batch, frames / 2, d_model)`.

        Raises:
            ModelError: If the number of frames is odd or over the full window.
        """
        self._refuse_unfit(input_features.shape[-1])
        if input_features.shape[-1] == 2 * self.max_source_positions:
            encoded: BaseModelOutput = super().forward(input_features, attention_mask, **options)
            return encoded
        return self._forward_cut(input_features, **options)

    def encode_segments(self, features: Sequence[Tensor]) -> Tensor:
        """Encode clips of different lengths without padding, each as if it were alone.

        Args:
            features: Log-mel features of each clip, shape `(mels, frames)`, frames even.

        Returns:
            The states of all clips end to end, shape `(1, all frames / 2, d_model)`.

        Raises:
            ModelError: If a number of frames is odd or over the full window, or the model's attention was
                changed to one that does not know where clips end.
        """
        self._refuse_mixing()
        for clip in features:
            self._refuse_unfit(clip.shape[-1])
        hidden_states = torch.cat([self._embed(clip[None]) for clip in features], dim=1)
        segments = Segments(tuple(clip.shape[-1] // 2 for clip in features))
        return self._through_layers(hidden_states, segments=segments)

    @_capture_outputs
    def _forward_cut(self, input_features: Tensor, **options: Any) -> BaseModelOutput:
        return BaseModelOutput(self._through_layers(self._embed(input_features), **options))

    def _embed(self, input_features: Tensor) -> Tensor:
        # WhisperEncoder.forward with the first positions only. It has no layerdrop: that is off in every run.
        embeds = nn.functional.gelu(self.conv1(input_features))
        embeds = nn.functional.gelu(self.conv2(embeds)).permute(0, 2, 1)
        positions = torch.arange(embeds.shape[1], device=embeds.device)
        hidden_states = embeds + self.embed_positions(positions)
        return nn.functional.dropout(hidden_states, p=self.dropout, training=self.training)

    def _through_layers(self, hidden_states: Tensor, **options: Any) -> Tensor:
        for layer in self.layers:
            hidden_states = layer(hidden_states, None, **options)
        states: Tensor = self.layer_norm(hidden_states)
        return states

    def _refuse_mixing(self) -> None:
        attention = self.config._attn_implementation
        if attention != SEGMENTED:
            raise ModelError(
                f"the model's attention is {attention}",
                "clips end to end would hear each other (transformers changes it for word timestamps)",
                "load the model again before training",
            )

    def _refuse_unfit(self, frames: int) -> None:
        full = 2 * self.max_source_positions
        if frames < 2 or frames % 2 or frames > full:
            raise ModelError(
                f"the audio context is {frames} frames",
                f"the encoder takes an even number from 2 to {full}, of 10 ms each",
                "pad the features or cut them",
            )


def enable_variable_context(model: WhisperForConditionalGeneration) -> None:
    """Let the encoder of this one model accept any even number of frames up to 3000.

    transformers itself is not patched: other models in the process keep the fixed window. Names of weights
    and saved files stay the same. SDPA attention goes on as it is, and also takes clips end to end. Whisper's
    own `generate` pads features to 30 s again: to generate from a cut context, run the encoder and pass
    `encoder_outputs`.

    Example:
        >>> from transformers import WhisperConfig
        >>> tiny = WhisperConfig(
        ...     d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        ...     decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        ... )
        >>> model = WhisperForConditionalGeneration(tiny)
        >>> enable_variable_context(model)
        >>> model.get_encoder()(torch.zeros(1, 80, 300)).last_hidden_state.shape
        torch.Size([1, 150, 8])
    """
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(SEGMENTED)
    encoder = model.model.encoder
    encoder.__class__ = VariableContextEncoder
    # transformers looks up what `output_hidden_states` records by the name of the module's class.
    _CAN_RECORD_REGISTRY[encoder] = VariableContextEncoder._can_record_outputs
