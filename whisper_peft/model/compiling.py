"""Whisper's layers compiled by torch, for the steps of a training run alone.

Each layer is compiled by itself, for any number of positions; attention over clips of any lengths stays as it
is (`segments.segmented_attention`). Scoring, saving and merging meet the plain layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import WhisperForConditionalGeneration

from whisper_peft.errors import ModelError


class CompiledLayers:
    """The encoder's and the decoder's layers, compiled at their first use.

    Args:
        core: The model, with or without an adapter in its layers.

    Example:
        >>> from transformers import WhisperConfig
        >>> core = WhisperForConditionalGeneration(WhisperConfig(
        ...     d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        ...     decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        ... ))
        >>> layers = CompiledLayers(core)
        >>> with layers.in_use():
        ...     "forward" in vars(core.model.encoder.layers[0])
        True
        >>> "forward" in vars(core.model.encoder.layers[0])
        False
    """

    def __init__(self, core: WhisperForConditionalGeneration) -> None:
        self.layers = [*core.model.encoder.layers, *core.model.decoder.layers]
        self.forwards = [torch.compile(layer.forward, dynamic=True) for layer in self.layers]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the model compute in its compiled layers meanwhile.

        Raises:
            ModelError: If they cannot be compiled here.
        """
        # seconds to import, and only who compiles needs it
        from torch._dynamo.exc import TorchDynamoException

        for layer, forward in zip(self.layers, self.forwards, strict=True):
            layer.forward = forward
        try:
            yield
        except TorchDynamoException as error:
            why = next(iter(str(error).splitlines()), type(error).__name__)
            todo = "leave train.compile out; on a CPU it needs a C++ compiler (g++)"
            raise ModelError("the model's layers cannot be compiled", why, todo) from error
        finally:
            for layer in self.layers:
                del layer.forward
