"""When each word was said: the way of the alignment heads' cross-attention through the recording.

The method is openai-whisper's (`timing.py`): attention of the heads that follow the audio, over the positions
of the clip, normalised over the tokens, smoothed over time, and then the cheapest path by dynamic time
warping. One pass of the decoder over the finished transcript also tells how certain the model was of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from torch import Tensor
from transformers import WhisperTokenizer
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperAttention
from transformers.models.whisper.tokenization_whisper import LANGUAGES, _combine_tokens_into_words

from whisper_peft.evaluation.encoder_states import EncoderStates
from whisper_peft.evaluation.generation import token_id
from whisper_peft.model.loading import Whisper

POSITIONS_PER_SECOND = 50
"""The encoder's second convolution halves 100 frames a second."""

SMOOTHED_POSITIONS = 7
"""Width of the median filter over time (openai-whisper, `timing.py`)."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word with the blank before it, when it was said, and of how many tokens it is."""

    text: str
    start_s: float
    end_s: float
    token_count: int


@dataclass(frozen=True, slots=True)
class Examination:
    """What a second look at a finished transcript tells.

    `mean_log_probability` is over its tokens and end-of-text.
    """

    words: tuple[Word, ...]
    mean_log_probability: float
    no_speech_probability: float


@dataclass(frozen=True, slots=True)
class Alignment:
    """How a transcript follows its recording.

    Attributes:
        weights: How strongly each token, end-of-text last, is tied to 20 ms each, `(tokens, positions)`.
        rows: For each step of the way through the recording its token, and
        columns: its position.
        words: The words with their times.
    """

    weights: NDArray[np.float32]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    words: tuple[Word, ...]


def examine(
    whisper: Whisper,
    states: EncoderStates,
    prefix: Sequence[int],
    tokens: Sequence[int],
    *,
    language: str,
    duration_s: float,
) -> Examination:
    """Look at one transcript again. Call it while `listening`.

    Args:
        whisper: Model and companions.
        states: What was heard: one row.
        prefix: What the decoder was given.
        tokens: What it wrote: text tokens, without timestamps and end-of-text.
        language: Code of the language, which tells whether words are parted by spaces.
        duration_s: How long the clip lasts.
    """
    logits, seen = _second_pass(whisper, states, [*prefix, *tokens], duration_s)
    chances = logits.float().log_softmax(dim=-1)
    start = list(prefix).index(whisper.generation_config.decoder_start_token_id)
    end = int(whisper.tokenizer.eos_token_id)
    written = torch.tensor([*tokens, end], device=whisper.device)
    certainty = chances[len(prefix) - 1 :].gather(1, written[:, None]).mean()
    no_speech = chances[start, token_id(whisper, "<|notimestamps|>") - 1].exp()
    found = _aligned(whisper, seen, prefix, tokens, language=language, duration_s=duration_s)
    return Examination(found.words, float(certainty), float(no_speech))


def align_tokens(
    whisper: Whisper,
    states: EncoderStates,
    prefix: Sequence[int],
    tokens: Sequence[int],
    *,
    language: str,
    duration_s: float,
) -> Alignment:
    """Return how one transcript follows its recording. Call it while `listening`.

    The arguments are those of `examine`.
    """
    _, seen = _second_pass(whisper, states, [*prefix, *tokens], duration_s)
    return _aligned(whisper, seen, prefix, tokens, language=language, duration_s=duration_s)


def _second_pass(
    whisper: Whisper, states: EncoderStates, tokens: Sequence[int], duration_s: float
) -> tuple[Tensor, list[Tensor]]:
    """Return the logits of a finished transcript, and the alignment heads' attention."""
    positions = min(math.ceil(duration_s * POSITIONS_PER_SECOND), states.lengths[0])
    with _attention_of(whisper, whisper.generation_config.to_dict()["alignment_heads"], positions) as seen:
        output = whisper.core(
            encoder_outputs=BaseModelOutput(last_hidden_state=states.hidden),
            decoder_input_ids=torch.tensor([list(tokens)], device=whisper.device),
        )
    return output.logits[0], seen


def _aligned(
    whisper: Whisper,
    seen: Sequence[Tensor],
    prefix: Sequence[int],
    tokens: Sequence[int],
    *,
    language: str,
    duration_s: float,
) -> Alignment:
    start = list(prefix).index(whisper.generation_config.decoder_start_token_id)
    weights = _alignment(seen, start)[len(prefix) - 1 - start :]
    rows, columns = warp(-weights) if tokens else ([], [])
    words = place_words(whisper.tokenizer, tokens, language, rows, columns, duration_s)
    return Alignment(weights, tuple(rows), tuple(columns), words)


@contextmanager
def _attention_of(
    whisper: Whisper, heads: Sequence[tuple[int, int]], positions: int
) -> Iterator[list[Tensor]]:
    """Keep the attention weights of the given (layer, head) pairs, each of shape `(tokens, positions)`.

    They are computed from the layers' own projections, so that the model's attention stays as it is.
    """
    seen: list[Tensor] = []

    def keep(layer: int) -> Any:
        chosen = [head for at, head in heads if at == layer]

        def look(attention: WhisperAttention, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
            hidden = inputs[0] if inputs else options["hidden_states"]
            heard = options["key_value_states"][:, :positions]
            queries, keys = (
                projection(x).view(*x.shape[:2], attention.num_heads, -1)[0].transpose(0, 1)[chosen].float()
                for projection, x in ((attention.q_proj, hidden), (attention.k_proj, heard))
            )
            seen.extend((queries @ keys.transpose(1, 2) * attention.scaling).softmax(dim=-1))

        return look

    layers = whisper.core.model.decoder.layers
    hooks = [
        layers[at].encoder_attn.register_forward_pre_hook(keep(at), with_kwargs=True)
        for at in sorted({layer for layer, _ in heads})
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _alignment(seen: Sequence[Tensor], start: int) -> NDArray[np.float32]:
    """Return how strongly each token from the start token on is tied to each position."""
    weights = torch.stack(list(seen))[:, start:].float()  # numpy has no bf16
    deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, correction=0)
    normal: NDArray[np.float32] = ((weights - mean) / deviation).cpu().numpy()
    if normal.shape[-1] > SMOOTHED_POSITIONS // 2:
        normal = median_filter(normal, size=(1, 1, SMOOTHED_POSITIONS), mode="mirror")
    smoothed: NDArray[np.float32] = normal.mean(axis=0)
    return smoothed


def warp(costs: NDArray[np.float32]) -> tuple[list[int], list[int]]:
    """Return the rows and columns of the cheapest monotonic path through a matrix of costs.

    The table is filled diagonal by diagonal, each in one step.

    Example:
        >>> warp(np.array([[0, 0, 9, 9], [9, 9, 0, 0]], np.float32))
        ([0, 0, 1, 1], [0, 1, 2, 3])
    """
    height, width = costs.shape
    steps = np.full((height + 1, width + 1), 2, np.int8)
    steps[:, 0] = 1
    before, last = np.full(height + 1, np.inf), np.full(height + 1, np.inf)
    before[0] = 0.0
    for diagonal in range(2, height + width + 1):
        row = np.arange(max(1, diagonal - width), min(height, diagonal - 1) + 1)
        both, down, right = before[row - 1], last[row - 1], last[row]
        step = np.where((both < down) & (both < right), 0, np.where((down < both) & (down < right), 1, 2))
        steps[row, diagonal - row] = step
        current = np.full(height + 1, np.inf)
        current[row] = costs[row - 1, diagonal - row - 1] + np.choose(step, (both, down, right))
        before, last = last, current
    return _walk_back(steps)


def _walk_back(steps: NDArray[np.int8]) -> tuple[list[int], list[int]]:
    row, column = steps.shape[0] - 1, steps.shape[1] - 1
    rows, columns = list[int](), list[int]()
    while row > 0 and column > 0:
        rows.append(row - 1)
        columns.append(column - 1)
        step = steps[row, column]
        row, column = row - int(step != 2), column - int(step != 1)
    return rows[::-1], columns[::-1]


def place_words(
    tokenizer: WhisperTokenizer,
    tokens: Sequence[int],
    language: str,
    rows: Sequence[int],
    columns: Sequence[int],
    duration_s: float,
) -> tuple[Word, ...]:
    """Return the words of a transcript with their times.

    Args:
        tokenizer: The checkpoint's own.
        tokens: Text tokens.
        language: Code of the language.
        rows: For each step of the path its token; end-of-text may follow the last one.
        columns: For each step its position.
        duration_s: How long the clip lasts.
    """
    if not tokens:
        return ()
    starts = dict[int, float]()
    for token, position in zip(rows, columns, strict=True):
        starts.setdefault(token, min(position / POSITIONS_PER_SECOND, duration_s))
    times = [starts.get(place, duration_s) for place in range(len(tokens) + 1)]
    texts, _, places = _combine_tokens_into_words(tokenizer, list(tokens), language=LANGUAGES[language])
    return tuple(
        Word(text, times[place[0]], max(times[place[-1] + 1], times[place[0]]), len(place))
        for text, place in zip(texts, places, strict=True)
        if place
    )
