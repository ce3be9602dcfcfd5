"""What a recipe gives the machine to do: its micro-batches, and the arithmetic that they are done in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from whisper_peft.data.batches.audio_contexts import AudioContexts
from whisper_peft.data.batches.batching import MicroBatch, equal_shares
from whisper_peft.data.batches.work import BYTES_PER_TOKEN, tokens_before
from whisper_peft.data.targets.target_draws import TargetDraws
from whisper_peft.evaluation.generation import audio_frames
from whisper_peft.evaluation.length_batches import MOST_ROWS, SORTED_BATCHES
from whisper_peft.model.blueprint import Linear
from whisper_peft.model.log_mel import MAX_FRAMES
from whisper_peft.model.precision import Precision
from whisper_peft.model.segments import PLAIN_POSITIONS
from whisper_peft.recipe.sections import EvalSection, Recipe
from whisper_peft.training.halving import parts_within
from whisper_peft.types import FRAMES_PER_SECOND, WINDOW_S, Utterance

PREFIX_TOKENS = 3
"""Start, no-timestamps and end-of-text; language and task are two more of a multilingual checkpoint."""


@dataclass(frozen=True)
class Arithmetic:
    """How a model computes.

    Attributes:
        precision: fp32, bf16 or fp16: what linear layers multiply in.
        quantize: How the frozen weights are stored.
        device: cpu, cuda or mps.
        all_learn: Whether every weight learns; they are fp32 then, under autocast.
        checkpointing: Whether blocks are computed again on the way back.
    """

    precision: str
    quantize: str
    device: str
    all_learn: bool = False
    checkpointing: bool = False

    @classmethod
    def of(cls, recipe: Recipe, precision: Precision, device: torch.device) -> Arithmetic:
        """Return the arithmetic of a recipe."""
        computed = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
        return cls(
            computed[precision.compute_dtype],
            recipe.model.quantize,
            device.type,
            recipe.adapter.method == "full",
            recipe.train.gradient_checkpointing,
        )

    @property
    def float_bytes(self) -> int:
        """Bytes of a value that linear layers are given."""
        return 4 if self.precision == "fp32" else 2

    @property
    def weight_bytes(self) -> int:
        """Bytes of a frozen weight that is not rounded; of any where all learn."""
        return 4 if self.all_learn else self.float_bytes

    @property
    def attends_plainly(self) -> bool:
        """Whether short clips attend in plain products, which keep their scores."""
        return self.precision == "bf16" and self.device == "cpu"

    def folds(self, rows: int, layer: Linear) -> bool:
        """Tell whether LoRA's update is folded into the weight for one product of so many rows."""
        plain = self.precision == "fp32" and self.quantize == "none"
        return plain and rows >= max(layer.width_in, layer.width_out)


@dataclass(frozen=True)
class Load:
    """The windows of a micro-batch: encoder positions and decoder tokens of each."""

    windows: tuple[int, ...]
    tokens_of: tuple[int, ...]

    @cached_property
    def positions(self) -> int:
        """Encoder positions of all windows."""
        return sum(self.windows)

    @cached_property
    def tokens(self) -> int:
        """Decoder tokens of all windows."""
        return sum(self.tokens_of)

    @cached_property
    def pairs(self) -> int:
        """Pairs of encoder positions that attend to each other."""
        return sum(count * count for count in self.windows)

    @cached_property
    def short_pairs(self) -> int:
        """The same of windows that are short enough for plain products."""
        return sum(count * count for count in self.windows if count <= PLAIN_POSITIONS)

    @cached_property
    def cross_pairs(self) -> int:
        """Pairs of a token and a position that it attends to."""
        return sum(count * tokens for count, tokens in zip(self.windows, self.tokens_of, strict=True))


def dealt_into_parts(load: Load, longest_s: float) -> Iterator[Load]:
    """Yield the parts of a micro-batch that are computed at once, as `training.gradients` deals it."""
    parts = parts_within([2 * count for count in load.windows], longest_s)
    for share in equal_shares(load.windows, min(parts, len(load.windows))):
        chosen = slice(share.start, share.stop)
        yield Load(load.windows[chosen], load.tokens_of[chosen])


def load_of(micro_batch: MicroBatch, contexts: AudioContexts, draws: TargetDraws) -> Load:
    """Return the load of a planned micro-batch, by the lengths of its speech and of the text it reads."""
    windows, tokens = [], []
    for window in micro_batch.windows:
        seconds = min(sum(row.duration_s or WINDOW_S for row in window), WINDOW_S)
        real = int(seconds * FRAMES_PER_SECOND)
        windows.append(contexts.frames(window[0].id, epoch=micro_batch.epoch, real_frames=real) // 2)
        before = round(tokens_before(window, draws, epoch=micro_batch.epoch))
        tokens.append(sum(text_tokens(row.text) for row in window) + before + PREFIX_TOKENS)
    return Load(tuple(windows), tuple(tokens))


def text_tokens(text: str) -> int:
    """Return about how many tokens a transcript takes.

    Example:
        >>> text_tokens("Please wait for the tone.")
        6
    """
    return max(round(len(text.encode()) / BYTES_PER_TOKEN), 1)


def scored_batches(rows: Sequence[Utterance], section: EvalSection) -> Iterator[Load]:
    """Yield the batches in which an evaluation hears its rows."""
    waiting = iter(rows)
    while window := list(itertools.islice(waiting, SORTED_BATCHES * section.batch_size)):
        window.sort(key=lambda row: -(row.duration_s or WINDOW_S))
        while window:
            longest = audio_frames(window[0].duration_s or WINDOW_S, section.audio_context)
            count = min(section.batch_size * MAX_FRAMES // longest, max(MOST_ROWS, section.batch_size))
            heard, window = window[:count], window[count:]
            frames = [audio_frames(row.duration_s or WINDOW_S, section.audio_context) for row in heard]
            tokens = tuple(text_tokens(row.text) + 1 for row in heard)
            yield Load(tuple(one // 2 for one in frames), tokens)
