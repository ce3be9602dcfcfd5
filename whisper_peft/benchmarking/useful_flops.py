"""The floating-point operations that an utterance needs, counted from the configuration, without padding.

A multiplication and an addition count as two. For F mel frames (100 a second), P = F / 2 encoder positions, T
decoder tokens, N targets, width d, feed-forward width f, vocabulary V and M mel bins, the forward pass takes

    convolutions      2 F (3 M d) + 2 P (3 d d)
    encoder layer     2 P (4 d d + 2 d f) + 4 P P d
    decoder layer     2 T (6 d d + 2 d f) + 2 P (2 d d) + 4 T T d + 4 T P d
    vocabulary        2 N d V
    LoRA              2 n r (d_in + d_out) for each adapted layer, n being its rows

The backward pass repeats a frozen layer's once, for the gradient of its input, and only where something
before it learns: the convolutions never, the first layer's queries, keys and values neither. Attention's
repeats once for each operand that has a gradient, LoRA's once for its weights and once for its input.
Recomputation (gradient checkpointing, chunked projection) is work, but not useful work. Softmax, norms,
activations and the optimiser are left out: they are bound by memory, and no counter of FLOPs has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transformers import WhisperConfig

from whisper_peft.benchmarking.sides import Lora
from whisper_peft.types import FRAMES_PER_SECOND


@dataclass(frozen=True, slots=True)
class Size:
    """How long an utterance is: to the encoder, to the decoder and to the loss."""

    duration_s: float
    decoder_tokens: int
    targets: int


@dataclass
class _Count:
    """Walk through the model once: the operations so far, and whether what flows has a gradient."""

    lora: Lora
    flops: float = 0.0

    def linear(self, name: str, rows: float, width_in: int, width_out: int, *, learned: bool) -> bool:
        """Count one layer, whose input has a gradient if `learned`. Return whether its output has one."""
        frozen = 2 * rows * width_in * width_out
        self.flops += frozen * (2 if learned else 1)
        if not is_adapted(name, self.lora.target_modules):
            return learned
        into, out_of = 2 * rows * self.lora.r * width_in, 2 * rows * self.lora.r * width_out
        self.flops += (3 if learned else 2) * into + 3 * out_of
        return True

    def attention(self, rows: float, keys: float, width: int, *, learned: tuple[bool, bool, bool]) -> bool:
        """Count scores and weighted sum, given whether queries, keys and values have a gradient."""
        query, key, value = learned
        operands = query + key + (query or key) + value
        self.flops += 2 * rows * keys * width * (2 + operands)
        return query or key or value


def useful_flops(config: WhisperConfig, lora: Lora, sizes: Iterable[Size]) -> float:
    """Return the operations of a forward and a backward pass over utterances, none of them padded.

    Args:
        config: The model's.
        lora: What learns.
        sizes: The utterances.

    Example:
        >>> lora = Lora(8, 16, 0.0, ("q_proj", "v_proj"), False, False)
        >>> one = useful_flops(WhisperConfig(), lora, [Size(3.0, 20, 18)])
        >>> 3.5 < useful_flops(WhisperConfig(), lora, [Size(10.0, 66, 64)]) / one < 4
        True
    """
    return sum(_utterance_flops(config, lora, size) for size in sizes)


def _utterance_flops(config: WhisperConfig, lora: Lora, size: Size) -> float:
    count = _Count(lora)
    frames = size.duration_s * FRAMES_PER_SECOND
    positions, width = frames / 2, config.d_model
    count.flops += 2 * frames * 3 * config.num_mel_bins * width + 2 * positions * 3 * width * width
    sound = False
    for layer in range(config.encoder_layers):
        name = f"model.encoder.layers.{layer}"
        sound = _self_attention(count, name, positions, width, learned=sound)
        sound = _feed_forward(count, name, positions, width, config.encoder_ffn_dim, learned=sound)
    text, tokens = False, size.decoder_tokens
    for layer in range(config.decoder_layers):
        name = f"model.decoder.layers.{layer}"
        text = _self_attention(count, name, tokens, width, learned=text)
        text = _cross_attention(count, name, tokens, positions, width, learned=(text, sound))
        text = _feed_forward(count, name, tokens, width, config.decoder_ffn_dim, learned=text)
    count.flops += 2 * size.targets * width * config.vocab_size * (2 if text else 1)
    return count.flops


def _self_attention(count: _Count, name: str, rows: float, width: int, *, learned: bool) -> bool:
    name = f"{name}.self_attn"
    query, key, value = (
        count.linear(f"{name}.{part}_proj", rows, width, width, learned=learned) for part in "qkv"
    )
    mixed = count.attention(rows, rows, width, learned=(query, key, value))
    return count.linear(f"{name}.out_proj", rows, width, width, learned=mixed) or learned


def _cross_attention(
    count: _Count, name: str, rows: float, positions: float, width: int, *, learned: tuple[bool, bool]
) -> bool:
    name = f"{name}.encoder_attn"
    text, sound = learned
    query = count.linear(f"{name}.q_proj", rows, width, width, learned=text)
    key, value = (
        count.linear(f"{name}.{part}_proj", positions, width, width, learned=sound) for part in "kv"
    )
    mixed = count.attention(rows, positions, width, learned=(query, key, value))
    return count.linear(f"{name}.out_proj", rows, width, width, learned=mixed) or text


def _feed_forward(count: _Count, name: str, rows: float, width: int, inner: int, *, learned: bool) -> bool:
    first = count.linear(f"{name}.fc1", rows, width, inner, learned=learned)
    return count.linear(f"{name}.fc2", rows, inner, width, learned=first) or learned


def is_adapted(name: str, targets: Sequence[str] | str) -> bool:
    """Tell whether PEFT adapts a module: a regular expression over its full name, or names that it ends in.

    Example:
        >>> is_adapted("model.encoder.layers.0.fc1", ("q_proj", "fc1"))
        True
    """
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)
