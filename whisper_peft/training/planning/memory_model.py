"""How much memory a step of training, an evaluation and a merge hold at their peak, from the shapes alone.

P encoder positions and T decoder tokens of a micro-batch lie end to end, d is the width, f the feed-forward
width. What a layer keeps for its backward pass (`model/segments.py`,
`model/adapters/fused_lora.py`, transformers' `WhisperEncoderLayer`), in values:

    encoder layer     x, norm, q, k, v, heard, joined, x + attention, norm: 9 P d;  fc1 and its GELU: 2 P f
    decoder layer     the same of T, and of the attention to the encoder: q, heard, joined, sum, norm: 5 T d,
                      k, v: 2 P d
    LoRA              its narrow product of each layer, r values a row, where it is not folded in the weight

What a frozen layer without an adapter was given is not kept. The peak comes when the last layer begins its
way back: all that is kept, and the gradients of one layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from whisper_peft.model.blueprint import Blueprint, Linear
from whisper_peft.model.segments import PLAIN_POSITIONS
from whisper_peft.training.loss import FROZEN_CHUNK, PROJECTION_CHUNK
from whisper_peft.training.planning.workload import Arithmetic, Load

MAPPED_BYTES = 32 * 2**20
"""glibc maps blocks from this size on apart and returns them at once when they are freed; smaller ones come
from the heap, which is never without gaps (mallopt(3), M_MMAP_THRESHOLD: at most 32 MiB)."""


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes that are held together: in blocks of the heap, and in blocks that are mapped apart."""

    heap: float = 0.0
    mapped: float = 0.0

    def __add__(self, other: Held) -> Held:
        return Held(self.heap + other.heap, self.mapped + other.mapped)

    @property
    def total(self) -> float:
        """All bytes."""
        return self.heap + self.mapped


def blocks(size: float, count: float = 1.0) -> Held:
    """Return `count` blocks of `size` bytes.

    Example:
        >>> blocks(1e6, 3), blocks(1e8)
        (Held(heap=3000000.0, mapped=0.0), Held(heap=0.0, mapped=100000000.0))
    """
    return Held(mapped=size * count) if size >= MAPPED_BYTES else Held(heap=size * count)


def kept_for_backward(blueprint: Blueprint, load: Load, arithmetic: Arithmetic) -> Held:
    """Return what a forward pass keeps for the backward pass."""
    sum_of = Held()
    if arithmetic.checkpointing:
        width, size = blueprint.config.d_model, arithmetic.weight_bytes
        inputs = blocks(load.positions * width * size, blueprint.config.encoder_layers + 2)
        return inputs + blocks(load.tokens * width * size, blueprint.config.decoder_layers + 1)
    if encoder_learns(blueprint):
        for number in range(lowest_learning_layer(blueprint), blueprint.config.encoder_layers):
            sum_of += _encoder_layer(blueprint, load, arithmetic, number)
        sum_of += blocks(load.positions * blueprint.config.d_model * arithmetic.weight_bytes)
        sum_of += _convolutions(blueprint, load, arithmetic)
    sum_of += blocks(load.positions * blueprint.config.d_model * arithmetic.float_bytes)
    for number in range(blueprint.config.decoder_layers):
        sum_of += _decoder_layer(blueprint, load, arithmetic, number)
    return sum_of


def encoder_learns(blueprint: Blueprint) -> bool:
    """Tell whether the backward pass enters the encoder."""
    return any(layer.keeps_input for layer in blueprint.encoder)


def lowest_learning_layer(blueprint: Blueprint) -> int:
    """Return the number of the encoder's first layer with something that learns."""
    numbers = [int(layer.name.split(".")[3]) for layer in blueprint.encoder if layer.keeps_input]
    return min(numbers, default=blueprint.config.encoder_layers)


def _encoder_layer(blueprint: Blueprint, load: Load, arithmetic: Arithmetic, number: int) -> Held:
    layers = blueprint.blocks["encoder", number]
    size, width = arithmetic.float_bytes, blueprint.config.d_model
    row = load.positions * width * size
    plain = (
        [count for count in load.windows if count <= PLAIN_POSITIONS] if arithmetic.attends_plainly else []
    )
    heads = blueprint.config.encoder_attention_heads
    held = _stream(
        layers, load.positions, width, arithmetic, first=number == lowest_learning_layer(blueprint)
    )
    held += blocks(row, 4 - sum(plain) / max(load.positions, 1))  # q, k, v, and what SDPA heard
    held += sum((blocks(heads * count**2 * size) for count in plain), Held())
    return held + _feed_forward(layers, load.positions, blueprint.config.encoder_ffn_dim, arithmetic)


def _decoder_layer(blueprint: Blueprint, load: Load, arithmetic: Arithmetic, number: int) -> Held:
    layers = blueprint.blocks["decoder", number]
    size, width = arithmetic.float_bytes, blueprint.config.d_model
    row = load.tokens * width * size
    held = _stream(layers, load.tokens, width, arithmetic, first=False) + blocks(row, 4)
    held += blocks(row, 3) + blocks(load.tokens * width * arithmetic.weight_bytes, 2)
    held += blocks(load.positions * width * size, 2)
    held += _narrow(
        [layers["encoder_attn.k_proj"], layers["encoder_attn.v_proj"]], load.positions, arithmetic
    )
    return held + _feed_forward(layers, load.tokens, blueprint.config.decoder_ffn_dim, arithmetic)


def _stream(layers: dict[str, Linear], rows: int, width: int, arithmetic: Arithmetic, *, first: bool) -> Held:
    """Return what a block keeps around its self-attention: its input, the norms and the joined heads."""
    row = rows * width
    held = blocks(row * arithmetic.weight_bytes, 1 if first else 2)
    given = [layers[f"self_attn.{part}"] for part in ("q_proj", "k_proj", "v_proj")]
    for group in (given, [layers["self_attn.out_proj"]], [layers["fc1"]]):
        if any(layer.keeps_input for layer in group):
            held += blocks(row * arithmetic.float_bytes)
        held += _narrow(group, rows, arithmetic)
    return held


def _feed_forward(layers: dict[str, Linear], rows: int, inner: int, arithmetic: Arithmetic) -> Held:
    wide = blocks(rows * inner * arithmetic.float_bytes, 1 + layers["fc2"].keeps_input)
    return wide + _narrow([layers["fc2"]], rows, arithmetic)


def _narrow(layers: Sequence[Linear], rows: int, arithmetic: Arithmetic) -> Held:
    """Return LoRA's narrow products, which are kept where the update is not folded into the weight."""
    ranks = [layer.rank for layer in layers if not arithmetic.folds(rows, layer)]
    return sum((blocks(rows * rank * arithmetic.float_bytes) for rank in ranks if rank), Held())


def _convolutions(blueprint: Blueprint, load: Load, arithmetic: Arithmetic) -> Held:
    """Return what the convolutions keep where every weight learns: input, outputs and their GELUs."""
    if not arithmetic.all_learn:
        return Held()
    config, size = blueprint.config, arithmetic.float_bytes
    return sum(
        (
            blocks(count * 2 * config.num_mel_bins * size)
            + blocks(2 * count * config.d_model * size, 2)
            + blocks(count * config.d_model * size)
            for count in load.windows
        ),
        Held(),
    )


def projection(blueprint: Blueprint, load: Load, arithmetic: Arithmetic) -> Held:
    """Return what the projection to the vocabulary holds at once: logits, and what they are normalised by."""
    vocabulary = blueprint.config.vocab_size
    if arithmetic.all_learn:
        return blocks(min(load.tokens, PROJECTION_CHUNK) * vocabulary * 4, 3)
    rows = min(load.tokens, FROZEN_CHUNK)
    return blocks(rows * vocabulary * 4, 2) + blocks(rows * vocabulary * (4 - arithmetic.float_bytes))


def gradients(blueprint: Blueprint, load: Load, arithmetic: Arithmetic) -> Held:
    """Return what the way back through one encoder layer holds beside what was kept."""
    if not encoder_learns(blueprint):
        rows, inner = load.tokens, blueprint.config.decoder_ffn_dim
    else:
        rows, inner = load.positions, blueprint.config.encoder_ffn_dim
    one = blocks(rows * inner * arithmetic.float_bytes, 2)
    one += blocks(rows * blueprint.config.d_model * arithmetic.float_bytes, 3)
    if arithmetic.checkpointing and encoder_learns(blueprint):
        plain = replace(arithmetic, checkpointing=False)
        one += _encoder_layer(blueprint, load, plain, blueprint.config.encoder_layers - 1)
    return one


def encoding(blueprint: Blueprint, windows: Sequence[int], arithmetic: Arithmetic) -> Held:
    """Return what an encoder that keeps nothing holds at once: its widest layer, or its convolutions."""
    config, size, positions = blueprint.config, arithmetic.float_bytes, sum(windows)
    layer = blocks(positions * config.d_model * size, 2)
    layer += blocks(positions * config.encoder_ffn_dim * size, 2)
    convolved = blocks(2 * positions * config.d_model * size, 2)
    return max(layer, convolved, key=lambda held: held.total)
