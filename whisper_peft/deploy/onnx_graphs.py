"""Whisper as ONNX graphs of standard operators, written node by node.

What is traced from PyTorch bakes lengths in and renames weights. Here every length stays an axis, so that the
encoder hears any even number of frames, and each initialiser has the name of the weight it holds: with `.T`
where it lies transposed, as `MatMul` takes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from transformers import WhisperConfig

from whisper_peft.model.log_mel import HOP_LENGTH, N_FFT, LogMel

OPSET = 17
"""The first with `LayerNormalization`; runtimes of 2022 read it."""

IR_VERSION = 8
"""The version of the file that came with that operator set."""

TRANSPOSED = ".T"
SCALE = "_scale"
ZERO_POINT = 128
"""What stands for 0 in weights of 8 bits. They are unsigned: with signed ones, sums of two products overflow
16 bits on processors without VNNI (onnxruntime's documentation of quantisation)."""

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
Array = NDArray[Any]
Weights = Mapping[str, Array]


def quantize_rows(weight: Array) -> tuple[Array, Array]:
    """Return a matrix in 8 bits, and the scale of each row.

    Example:
        >>> rows, scales = quantize_rows(np.array([[-1.27, 0.0, 0.64]], np.float32))
        >>> rows.tolist(), scales.round(4).tolist()
        ([[1, 128, 192]], [0.009999999776482582])
    """
    scales = np.abs(weight).max(axis=1) / np.float32(127)
    scales[scales == 0] = 1.0
    rows = np.rint(weight / scales[:, None]) + ZERO_POINT
    return rows.astype(np.uint8), scales.astype(np.float32)


def dequantize_rows(rows: Array, scales: Array) -> Array:
    """Return the matrix that `quantize_rows` rounded."""
    return (rows.astype(np.float32) - ZERO_POINT) * scales[:, None]


class Graph:
    """A graph in the making: each method adds nodes and returns the name of what they compute.

    Args:
        weights: fp32 weights under Hugging Face's names.
        quantized: Whether matrices are kept in 8 bits, and what they are multiplied with is rounded to 8 bits
            as it comes, unless a layer wants it exact.
    """

    def __init__(self, weights: Weights, *, quantized: bool) -> None:
        self.weights, self.quantized = weights, quantized
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._rounded: dict[str, tuple[str, str]] = {}

    def nodes_of(self, kind: str, *inputs: str, count: int = 1, **attributes: Any) -> list[str]:
        """Add a node; return the names of its outputs."""
        outputs = [f"{kind}_{len(self.nodes)}_{place}" for place in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name=outputs[0], **attributes))
        return outputs

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; return its name."""
        return self.nodes_of(kind, *inputs, **attributes)[0]

    def named(self, name: str, value: str) -> None:
        """Give a value the name of an output."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=name))

    def initializer(self, name: str, values: Array) -> str:
        """Keep an array in the file; return its name."""
        self.initializers.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def weight(self, name: str) -> str:
        """Return a weight as it is."""
        return self.initializer(name, self.weights[name])

    def integers(self, *values: int) -> str:
        """Return a constant vector of integers."""
        return self.initializer(f"integers_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def number(self, value: float) -> str:
        """Return a constant scalar."""
        return self.initializer(f"number_{value:.9g}", np.array(value, np.float32))

    def length(self, value: str, axis: int) -> str:
        """Return the length of an axis, as a vector of one."""
        return self.node("Gather", self.node("Shape", value), self.integers(axis))

    def linear(self, value: str, layer: str, *, exact_input: bool = False) -> str:
        """Multiply with a matrix, and add the bias where there is one."""
        product = self.product(value, f"{layer}.weight", exact_input=exact_input)
        bias = f"{layer}.bias"
        return self.node("Add", product, self.weight(bias)) if bias in self.weights else product

    def product(self, value: str, name: str, *, exact_input: bool = False) -> str:
        """Multiply with a transposed matrix.

        Args:
            value: What is multiplied.
            name: The weight.
            exact_input: Whether `value` is not rounded: the matrix is multiplied out when it is used.
        """
        if not self.quantized:
            return self.node("MatMul", value, self.initializer(name + TRANSPOSED, self.weights[name].T))
        rows, scale = self.rounded_weight(name)
        if exact_input:
            return self.node(
                "MatMul", value, self.node("DequantizeLinear", rows, scale, self.zeros(name), axis=1)
            )
        zero = self.initializer("zero_point", np.array(ZERO_POINT, np.uint8))
        if value not in self._rounded:
            self._rounded[value] = self.rounded_positions(value)
        integers, its_scale = self._rounded[value]
        sums = self.node("Cast", self.node("MatMulInteger", integers, rows, zero, zero), to=FLOAT)
        return self.node("Mul", self.node("Mul", sums, its_scale), scale)

    def rounded_positions(self, value: str) -> tuple[str, str]:
        """Return activations in 8 bits, and a scale for each position: one that is large rounds no other."""
        peaks = self.node("ReduceMax", self.node("Abs", value), axes=[-1], keepdims=1)
        scale = self.node("Max", self.node("Mul", peaks, self.number(1 / 127)), self.number(1e-12))
        steps = self.node("Add", self.node("Round", self.node("Div", value, scale)), self.number(ZERO_POINT))
        return self.node("Cast", steps, to=TensorProto.UINT8), scale

    def rounded_weight(self, name: str) -> tuple[str, str]:
        """Return a transposed matrix in 8 bits, and the scales of its columns."""
        if name + TRANSPOSED in self.initializers:
            return name + TRANSPOSED, name + SCALE
        rows, scales = quantize_rows(self.weights[name])
        return self.initializer(name + TRANSPOSED, rows.T), self.initializer(name + SCALE, scales)

    def zeros(self, name: str) -> str:
        """Return what stands for 0 in each column of a rounded matrix."""
        columns = len(self.weights[name])
        return self.initializer(f"zero_points_{columns}", np.full(columns, ZERO_POINT, np.uint8))

    def norm(self, value: str, layer: str) -> str:
        """Normalise each position."""
        weight, bias = self.weight(f"{layer}.weight"), self.weight(f"{layer}.bias")
        return self.node("LayerNormalization", value, weight, bias, axis=-1, epsilon=1e-5)

    def gelu(self, value: str) -> str:
        """Return the exact GELU, by the error function."""
        bell = self.node("Erf", self.node("Div", value, self.number(math.sqrt(2))))
        half = self.node("Mul", value, self.node("Add", bell, self.number(1)))
        return self.node("Mul", half, self.number(0.5))

    def feed_forward(self, value: str, layer: str) -> str:
        """Add what the two matrices of a layer make of each position.

        A few values behind a GELU are far larger than the others: in the 8 bits that they would share, the
        others are lost. It is half of what rounding costs (docs/results/export.md).
        """
        wide = self.gelu(self.linear(self.norm(value, f"{layer}.final_layer_norm"), f"{layer}.fc1"))
        return self.node("Add", value, self.linear(wide, f"{layer}.fc2", exact_input=True))

    def heads(self, value: str, heads: int, width: int) -> str:
        """Split positions into heads, shape `(batch, heads, positions, width)`."""
        apart = self.node("Reshape", value, self.integers(0, 0, heads, width))
        return self.node("Transpose", apart, perm=[0, 2, 1, 3])

    def attend(self, query: str, key: str, value: str, *, width: int, mask: str | None = None) -> str:
        """Return what each query finds, heads joined again."""
        scaled = self.node("Mul", query, self.number(width**-0.5))
        scores = self.node("MatMul", scaled, self.node("Transpose", key, perm=[0, 1, 3, 2]))
        if mask is not None:
            scores = self.node("Add", scores, mask)
        found = self.node("MatMul", self.node("Softmax", scores, axis=-1), value)
        joined = self.node("Transpose", found, perm=[0, 2, 1, 3])
        return self.node("Reshape", joined, self.integers(0, 0, -1))

    def model(self, name: str, inputs: list[Any], outputs: list[Any]) -> onnx.ModelProto:
        """Return the finished model."""
        graph = helper.make_graph(self.nodes, name, inputs, outputs, list(self.initializers.values()))
        operators = [helper.make_opsetid("", OPSET)]
        return helper.make_model(
            graph, opset_imports=operators, ir_version=IR_VERSION, producer_name="whisper_peft"
        )


def _tensor(name: str, shape: list[str | int], kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def log_mel_graph(num_mel_bins: int) -> onnx.ModelProto:
    """Return the graph from `waveform`, a multiple of 160 samples, to `input_features`.

    The Fourier transform is a convolution with 201 cosines and 201 sines under Hann's window.
    """
    graph = Graph({}, quantized=False)
    bins = N_FFT // 2 + 1
    angles = 2 * np.pi * np.outer(np.arange(bins), np.arange(N_FFT)) / N_FFT
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    waves = np.concatenate([np.cos(angles), np.sin(angles)]) * window
    half = N_FFT // 2
    padded = graph.node("Pad", "waveform", graph.integers(0, half, 0, half), mode="reflect")
    padded = graph.node("Unsqueeze", padded, graph.integers(1))
    fourier = graph.initializer("fourier_transform", waves[:, None].astype(np.float32))
    spectrum = graph.node("Conv", padded, fourier, strides=[HOP_LENGTH])
    spectrum = graph.node("Slice", spectrum, graph.integers(0), graph.integers(-1), graph.integers(2))
    power = graph.node("Mul", spectrum, spectrum)
    real, imaginary = graph.nodes_of("Split", power, graph.integers(bins, bins), count=2, axis=1)
    filters = graph.initializer("mel_filters", LogMel(num_mel_bins).filters.numpy())
    mel = graph.node("MatMul", filters, graph.node("Add", real, imaginary))
    loud = graph.node("Max", mel, graph.number(1e-10))
    log_mel = graph.node("Div", graph.node("Log", loud), graph.number(math.log(10)))
    loudest = graph.node("ReduceMax", log_mel, axes=[1, 2])
    floor = graph.node("Sub", loudest, graph.number(8))
    shifted = graph.node("Add", graph.node("Max", log_mel, floor), graph.number(4))
    graph.named("input_features", graph.node("Div", shifted, graph.number(4)))
    return graph.model(
        "log_mel",
        [_tensor("waveform", ["batch", "samples"])],
        [_tensor("input_features", ["batch", num_mel_bins, "frames"])],
    )


def encoder_graph(config: WhisperConfig, weights: Weights, *, quantized: bool) -> onnx.ModelProto:
    """Return the graph from `input_features`, any even number of frames, to what the decoder listens to.

    That is `last_hidden_state`, and of each decoder layer the keys and values of it,
    `present.N.encoder.key` and `.value`: computed once for a clip, not once for each token.
    """
    graph = Graph(weights, quantized=quantized)
    heads, width = config.encoder_attention_heads, config.d_model // config.encoder_attention_heads
    hidden = _convolutions(graph)
    for index in range(config.encoder_layers):
        layer = f"model.encoder.layers.{index}"
        normed = graph.norm(hidden, f"{layer}.self_attn_layer_norm")
        parts = [graph.linear(normed, f"{layer}.self_attn.{part}_proj") for part in "qkv"]
        query, key, value = (graph.heads(part, heads, width) for part in parts)
        found = graph.attend(query, key, value, width=width)
        hidden = graph.node("Add", hidden, graph.linear(found, f"{layer}.self_attn.out_proj"))
        hidden = graph.feed_forward(hidden, layer)
    hidden = graph.norm(hidden, "model.encoder.layer_norm")
    graph.named("last_hidden_state", hidden)
    outputs = [_tensor("last_hidden_state", ["batch", "positions", config.d_model])]
    heads, width = config.decoder_attention_heads, config.d_model // config.decoder_attention_heads
    for index in range(config.decoder_layers):
        for part in ("key", "value"):
            layer = f"model.decoder.layers.{index}.encoder_attn.{part[0]}_proj"
            name = f"present.{index}.encoder.{part}"
            graph.named(name, graph.heads(graph.linear(hidden, layer), heads, width))
            outputs.append(_tensor(name, ["batch", heads, "positions", width]))
    features = _tensor("input_features", ["batch", config.num_mel_bins, "frames"])
    return graph.model("encoder", [features], outputs)


def _convolutions(graph: Graph) -> str:
    value = "input_features"
    for layer, stride in (("model.encoder.conv1", 1), ("model.encoder.conv2", 2)):
        weight, bias = graph.weight(f"{layer}.weight"), graph.weight(f"{layer}.bias")
        value = graph.gelu(graph.node("Conv", value, weight, bias, pads=[1, 1], strides=[stride]))
    value = graph.node("Transpose", value, perm=[0, 2, 1])
    positions = graph.weight("model.encoder.embed_positions.weight")
    heard = graph.node("Slice", positions, graph.integers(0), graph.length(value, 1))
    return graph.node("Add", value, heard)


def decoder_graph(config: WhisperConfig, weights: Weights, *, quantized: bool) -> onnx.ModelProto:
    """Return the graph from `input_ids` and the past to `logits` and the new past.

    The past of a beginning has no tokens; any number of tokens can follow at once.
    """
    graph = Graph(weights, quantized=quantized)
    heads, width = config.decoder_attention_heads, config.d_model // config.decoder_attention_heads
    past = graph.length("past_key_values.0.decoder.key", 2)
    hidden, mask = _embedding(graph, past)
    inputs = [_tensor("input_ids", ["batch", "tokens"], INT64)]
    outputs = [_tensor("logits", ["batch", "tokens", config.vocab_size])]
    for index in range(config.decoder_layers):
        hidden = _decoder_layer(graph, hidden, index, heads=heads, width=width, mask=mask)
        for kind, length in (("decoder", "past_tokens"), ("encoder", "positions")):
            for part in ("key", "value"):
                shape: list[str | int] = ["batch", heads, length, width]
                inputs.append(_tensor(f"past_key_values.{index}.{kind}.{part}", shape))
        for part in ("key", "value"):
            outputs.append(_tensor(f"present.{index}.decoder.{part}", ["batch", heads, "all_tokens", width]))
    hidden = graph.norm(hidden, "model.decoder.layer_norm")
    graph.named("logits", _logits(graph, hidden, tied=config.tie_word_embeddings))
    return graph.model("decoder_with_past", inputs, outputs)


EMBEDDING = "model.decoder.embed_tokens.weight"


def _embedding(graph: Graph, past: str) -> tuple[str, str]:
    """Return the embedded tokens, and what hides later tokens from earlier ones."""
    if graph.quantized:
        rows, scale = graph.rounded_weight(EMBEDDING)
        columns = graph.node("Cast", graph.node("Gather", rows, "input_ids", axis=1), to=FLOAT)
        columns = graph.node("Sub", columns, graph.number(ZERO_POINT))
        columns = graph.node("Mul", columns, graph.node("Gather", scale, "input_ids"))
        embedded = graph.node("Transpose", columns, perm=[1, 2, 0])
    else:
        embedded = graph.node("Gather", graph.weight(EMBEDDING), "input_ids")
    everything = graph.node("Add", past, graph.length("input_ids", 1))
    first, past, end, one = (
        graph.node("Squeeze", value) for value in (graph.integers(0), past, everything, graph.integers(1))
    )
    queries = graph.node("Range", past, end, one)
    positions = graph.node("Gather", graph.weight("model.decoder.embed_positions.weight"), queries)
    keys = graph.node("Range", first, end, one)
    is_later = graph.node("Less", graph.node("Unsqueeze", queries, graph.integers(1)), keys)
    mask = graph.node("Where", is_later, graph.number(-math.inf), graph.number(0))
    return graph.node("Add", embedded, positions), mask


def _decoder_layer(graph: Graph, hidden: str, index: int, *, heads: int, width: int, mask: str) -> str:
    layer = f"model.decoder.layers.{index}"
    normed = graph.norm(hidden, f"{layer}.self_attn_layer_norm")
    parts = [graph.linear(normed, f"{layer}.self_attn.{part}_proj") for part in "qkv"]
    query, *both = (graph.heads(part, heads, width) for part in parts)
    so_far = []
    for part, new in zip(("key", "value"), both, strict=True):
        so_far.append(graph.node("Concat", f"past_key_values.{index}.decoder.{part}", new, axis=2))
        graph.named(f"present.{index}.decoder.{part}", so_far[-1])
    found = graph.attend(query, *so_far, width=width, mask=mask)
    hidden = graph.node("Add", hidden, graph.linear(found, f"{layer}.self_attn.out_proj"))
    normed = graph.norm(hidden, f"{layer}.encoder_attn_layer_norm")
    query = graph.heads(graph.linear(normed, f"{layer}.encoder_attn.q_proj"), heads, width)
    heard = [f"past_key_values.{index}.encoder.{part}" for part in ("key", "value")]
    found = graph.attend(query, *heard, width=width)
    hidden = graph.node("Add", hidden, graph.linear(found, f"{layer}.encoder_attn.out_proj"))
    return graph.feed_forward(hidden, layer)


def _logits(graph: Graph, hidden: str, *, tied: bool) -> str:
    if graph.quantized or not tied:
        return graph.product(hidden, EMBEDDING if tied else "proj_out.weight")
    # as the embedding lies: transposed it would be in the file, and in memory, a second time
    rows = graph.node("Flatten", hidden, axis=2)
    flat = graph.node("Gemm", rows, graph.weight(EMBEDDING), transB=1)
    shape = graph.node("Concat", graph.node("Shape", hidden, end=2), graph.integers(-1), axis=0)
    return graph.node("Reshape", flat, shape)
