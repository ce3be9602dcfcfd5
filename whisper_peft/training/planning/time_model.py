"""What a step of training, an evaluation and a merge have to compute, counted from the shapes alone.

A multiplication and an addition count as two operations. The backward pass repeats a frozen layer's product
once, for the gradient of its input, and only above the lowest weight that learns; one that learns itself,
twice. Beside the products there is what no counter of operations has: fresh memory that the system maps page
by page, and what each layer and each clip costs however little there is to compute.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import partial

from transformers import WhisperConfig

from whisper_peft.model.blueprint import Blueprint, Linear
from whisper_peft.training.planning.memory_model import MAPPED_BYTES, encoder_learns, lowest_learning_layer
from whisper_peft.training.planning.workload import Arithmetic, Load


@dataclass(frozen=True, slots=True)
class Work:
    """What is computed, by what it takes time for.

    Attributes:
        products: Operations of linear layers, convolutions and the vocabulary.
        narrow: Operations of LoRA's narrow products.
        attention: Operations of scores and their sums over values in torch's fused kernel.
        plain_attention: The same in plain products.
        frames: Log-mel frames.
        rounded: Quantised weights that are multiplied out, each time.
        layers: Layers called, forward or backward.
        clips: Attentions called, one for each clip and layer.
        updated: Weights that the optimiser changes.
        read: Bytes of weights and caches that writing token after token reads.
        mapped: Bytes of blocks so large that the system maps them anew each time, page by page.
    """

    products: float = 0.0
    narrow: float = 0.0
    attention: float = 0.0
    plain_attention: float = 0.0
    frames: float = 0.0
    rounded: float = 0.0
    layers: float = 0.0
    clips: float = 0.0
    updated: float = 0.0
    read: float = 0.0
    mapped: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(Work)))

    def times(self, factor: float) -> Work:
        """Return it so many times."""
        return Work(*(getattr(self, one.name) * factor for one in fields(Work)))


def total(parts: Iterable[Work]) -> Work:
    """Return all parts together."""
    return sum(parts, Work())


def training_work(blueprint: Blueprint, loads: Iterable[Load], arithmetic: Arithmetic) -> Work:
    """Return the work of one optimiser step over its micro-batches."""
    batches = total(_micro_batch(blueprint, load, arithmetic) for load in loads)
    return batches + Work(updated=blueprint.trainable_weights)


def _micro_batch(blueprint: Blueprint, load: Load, arithmetic: Arithmetic) -> Work:
    config, learns = blueprint.config, encoder_learns(blueprint)
    lowest = lowest_learning_layer(blueprint)
    encoder = encoder_work(blueprint, load, arithmetic)
    back = _way_back(blueprint, load, arithmetic, lowest) if learns else Work()
    decoder = _decoder(blueprint, load, arithmetic, learns=learns)
    again = encoder.times((config.encoder_layers - lowest) / config.encoder_layers) + _decoder_forward(
        blueprint, load
    )
    vocabulary = Work(
        products=4 * load.tokens * config.d_model * config.vocab_size,
    )
    if arithmetic.all_learn:
        vocabulary = vocabulary.times(1.5)
    return encoder + back + decoder + vocabulary + (again if arithmetic.checkpointing else Work())


def encoder_work(blueprint: Blueprint, load: Load, arithmetic: Arithmetic) -> Work:
    """Return the work of hearing windows, log-mel features included."""
    config, positions = blueprint.config, load.positions
    width, layers = config.d_model, config.encoder_layers
    linear = blueprint.encoder
    convolutions = 4 * positions * 3 * config.num_mel_bins * width + 2 * positions * 3 * width * width
    return Work(
        products=convolutions + sum(_product(layer, positions) for layer in linear),
        narrow=sum(_narrow(layer, positions) for layer in linear if not arithmetic.folds(positions, layer)),
        **_attention(load, arithmetic, 4 * width * layers, 4 * width * layers),
        frames=2 * max(load.windows) * len(load.windows),
        rounded=_weights(linear) if arithmetic.quantize != "none" else 0.0,
        layers=len(linear),
        clips=layers * len(load.windows),
        mapped=_mapped(config, positions, arithmetic).times(layers).mapped
        + 2 * _whole_blocks(2 * positions * width * arithmetic.float_bytes)
        + (sum(map(partial(_rounding, positions), linear)) if arithmetic.quantize == "int8" else 0.0),
    )


def _attention(load: Load, arithmetic: Arithmetic, fused: float, plain: float) -> dict[str, float]:
    """Return operations of attention within windows, given those of a pair of positions in either way."""
    short = load.short_pairs if arithmetic.attends_plainly else 0
    return {"attention": fused * (load.pairs - short), "plain_attention": plain * short}


def _rounding(positions: int, layer: Linear) -> float:
    """Return the large blocks in which int8 rounds a layer's input: 3 of its size, 2 of its output's."""
    size_in, size_out = 4 * positions * layer.width_in, 4 * positions * layer.width_out
    return 3 * _whole_blocks(size_in) + 2 * _whole_blocks(size_out)


def _mapped(config: WhisperConfig, positions: float, arithmetic: Arithmetic) -> Work:
    """Return the large blocks of one way through an encoder layer: 12 as wide as the model, 2 as fc1."""
    size = arithmetic.float_bytes
    narrow, wide = positions * config.d_model * size, positions * config.encoder_ffn_dim * size
    return Work(mapped=12 * _whole_blocks(narrow) + 2 * _whole_blocks(wide))


def _whole_blocks(size: float) -> float:
    return size if size >= MAPPED_BYTES else 0.0


def _way_back(blueprint: Blueprint, load: Load, arithmetic: Arithmetic, lowest: int) -> Work:
    config, positions = blueprint.config, load.positions
    linear = [layer for layer in blueprint.encoder if _number(layer) >= lowest]
    above = config.encoder_layers - lowest
    first = f"model.encoder.layers.{lowest}.self_attn"
    entered = [layer for layer in linear if not layer.name.startswith(first) or "out_proj" in layer.name]
    return Work(
        products=sum(_product(layer, positions) for layer in (linear if arithmetic.all_learn else entered))
        + sum(_product(layer, positions) for layer in linear if layer.learns),
        narrow=2 * sum(_narrow(layer, positions) for layer in linear),
        **_attention(load, arithmetic, 10 * config.d_model * above, 8 * config.d_model * above),
        rounded=_weights(linear) if arithmetic.quantize != "none" else 0.0,
        layers=2 * len(linear),
        clips=2 * above * len(load.windows),
        mapped=_mapped(config, positions, arithmetic).times(above).mapped,
    )


def _decoder_forward(blueprint: Blueprint, load: Load) -> Work:
    config = blueprint.config
    linear, layers = blueprint.decoder, config.decoder_layers
    pairs = load.cross_pairs + sum(count * count for count in load.tokens_of)
    return Work(
        products=sum(_product(layer, _rows(layer, load)) for layer in linear),
        narrow=sum(_narrow(layer, _rows(layer, load)) for layer in linear),
        attention=4 * pairs * config.d_model * layers,
        layers=len(linear),
        clips=2 * layers * len(load.windows),
    )


def _decoder(blueprint: Blueprint, load: Load, arithmetic: Arithmetic, *, learns: bool) -> Work:
    forward, linear = _decoder_forward(blueprint, load), blueprint.decoder
    frozen = [layer for layer in linear if not learns and _hears(layer)]
    skipped = Work(products=sum(_product(layer, load.positions) for layer in frozen))
    again = Work(products=sum(_product(layer, _rows(layer, load)) for layer in linear if layer.learns))
    rounded = Work(rounded=2 * _weights(linear) if arithmetic.quantize != "none" else 0.0)
    return forward.times(3) + forward_difference(forward, skipped) + again + rounded


def forward_difference(forward: Work, skipped: Work) -> Work:
    """Return what a backward pass takes less than twice the forward one: a frozen product comes back once."""
    return Work(products=-forward.products - skipped.products)


def scoring_work(blueprint: Blueprint, batches: Iterable[Load], arithmetic: Arithmetic) -> Work:
    """Return the work of transcribing batches: windows are heard, then texts are written token by token."""
    return total(
        encoder_work(blueprint, load, arithmetic) + _writing(blueprint, load, arithmetic) for load in batches
    )


def _writing(blueprint: Blueprint, load: Load, arithmetic: Arithmetic) -> Work:
    config, size = blueprint.config, arithmetic.float_bytes
    linear, passes = blueprint.decoder, max(load.tokens_of)
    heard = [layer for layer in linear if _hears(layer)]
    written = [layer for layer in linear if not _hears(layer)]
    vocabulary = config.d_model * config.vocab_size
    weights = (_weights(written) + vocabulary) * size
    return Work(
        products=sum(_product(layer, load.positions) for layer in heard)
        + sum(_product(layer, load.tokens) for layer in written)
        + 2 * load.tokens * vocabulary,
        rounded=passes * _weights(written) if arithmetic.quantize != "none" else 0.0,
        layers=passes * _calls(written, arithmetic),
        mapped=(2 * config.decoder_layers + 2)
        * _whole_blocks(max(load.windows) * len(load.windows) * config.d_model * size),
        read=passes * weights + 2 * load.cross_pairs * config.d_model * config.decoder_layers * size,
    )


def _calls(layers: Iterable[Linear], arithmetic: Arithmetic) -> int:
    """Return the products of a way through layers; adapters rest in fp32 weights while texts are written."""
    beside = arithmetic.precision != "fp32" or arithmetic.quantize != "none"
    return sum(3 if beside and layer.rank else 1 for layer in layers)


def _product(layer: Linear, rows: float) -> float:
    return 2 * rows * layer.width_in * layer.width_out


def _narrow(layer: Linear, rows: float) -> float:
    return 2 * rows * layer.rank * (layer.width_in + layer.width_out)


def _weights(layers: Iterable[Linear]) -> float:
    return float(sum(layer.width_in * layer.width_out for layer in layers))


def _number(layer: Linear) -> int:
    return int(layer.name.split(".")[3])


def _hears(layer: Linear) -> bool:
    return layer.name.endswith(("encoder_attn.k_proj", "encoder_attn.v_proj"))


def _rows(layer: Linear, load: Load) -> int:
    return load.positions if _hears(layer) else load.tokens
