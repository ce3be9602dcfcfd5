"""Greedy search over a batch of encoder states: each row costs what it says.

transformers' `generate` decodes a batch as long as its longest row, for all rows. Here rows that have ended
leave the batch and its cache, rows that loop are ended, and nothing is computed that greedy search can do
without. Tokens are those of `generate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    LogitsProcessorList,
    WhisperForConditionalGeneration,
)

from whisper_peft.evaluation.encoder_states import EncoderStates, cross_attention_within
from whisper_peft.evaluation.endings import Found, RowLimits

GOING_ON = 0.75
"""Ended rows leave the batch when at most this share of its rows goes on: leaving copies the cache."""

PENALTIES = (
    "repetition_penalty",
    "encoder_repetition_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "sequence_bias",
    "min_length",
    "min_new_tokens",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
)
"""Settings of a generation config that change greedy search; Whisper's own checkpoints have none of them."""


def is_plain(config: GenerationConfig) -> bool:
    """Tell whether greedy search is all that a generation config asks for, beside suppressed tokens.

    Example:
        >>> is_plain(GenerationConfig()), is_plain(GenerationConfig(no_repeat_ngram_size=3))
        (True, False)
    """
    return all(getattr(config, name) in (None, 0, 1.0) for name in PENALTIES)


def search_greedily(
    model: WhisperForConditionalGeneration,
    states: EncoderStates,
    prefixes: Tensor,
    *,
    config: GenerationConfig,
    limits: Sequence[RowLimits],
    end: int,
    rules: LogitsProcessorList,
) -> list[Found]:
    """Write the likeliest token of each row until it ends, reaches its limit or loops.

    Args:
        model: The model, in evaluation mode and without gradients.
        states: What was heard.
        prefixes: What the decoder is given, shape `(batch, tokens)`.
        config: Suppressed tokens.
        limits: Of each row.
        end: Id of end-of-text.
        rules: Further rules, such as those of timestamps.
    """
    rows = [_Row(limit) for limit in limits]
    batch = _Batch(model, states.hidden, states.mask, prefixes, list(rows))
    suppressed, suppressed_at_first = _suppressed_tokens(model, config)
    while not all(row.is_over for row in batch.rows):
        scores = batch.next_scores().masked_fill_(suppressed, -torch.inf)
        if batch.written.shape == prefixes.shape:
            scores = scores.masked_fill_(suppressed_at_first, -torch.inf)
        scores = rules(cast(torch.LongTensor, batch.written), scores)
        tokens = scores.argmax(dim=-1, keepdim=True)
        batch.write(tokens, scores.gather(1, tokens)[:, 0] - scores.logsumexp(dim=-1), end)
        batch.let_go()
    return [Found(row.tokens, row.ended, row.mean_log_probability) for row in rows]


@dataclass(slots=True)
class _Row:
    """A row's transcript so far."""

    limits: RowLimits
    tokens: list[int] = field(default_factory=list)
    log_probability: float = 0.0
    ended: bool = False
    is_over: bool = False

    @property
    def mean_log_probability(self) -> float:
        """Of the tokens, and of the end where it was written."""
        return self.log_probability / max(len(self.tokens) + self.ended, 1)

    def add(self, token: int, log_probability: float, end: int) -> None:
        """Append a token, and end the row where it ends itself, is full or loops."""
        self.log_probability += log_probability
        self.ended = token == end
        if not self.ended:
            self.tokens.append(token)
        self.is_over = self.ended or self.limits.are_reached(self.tokens, end=end)


@dataclass(slots=True)
class _Batch:
    """The rows that are decoded together, the ended ones too until they are let go."""

    model: WhisperForConditionalGeneration
    states: Tensor
    mask: Tensor | None
    written: Tensor
    rows: list[_Row]
    cache: EncoderDecoderCache = field(init=False)
    read: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self.read = self.written

    def next_scores(self) -> Tensor:
        """Return the logits of the next token, shape `(rows, vocabulary)`, in fp32."""
        with cross_attention_within(self.model, self.mask):
            output = self.model.model.decoder(
                input_ids=self.read,
                encoder_hidden_states=self.states,
                past_key_values=self.cache,
                use_cache=True,
            )
        scores: Tensor = self.model.proj_out(output.last_hidden_state[:, -1])
        return scores.to(torch.float32, copy=True)

    def write(self, tokens: Tensor, log_probabilities: Tensor, end: int) -> None:
        """Append a token of shape `(rows, 1)` to each row."""
        self.read = tokens
        self.written = torch.cat([self.written, tokens], dim=1)
        chosen = zip(tokens[:, 0].tolist(), log_probabilities.tolist(), strict=True)
        for row, (token, log_probability) in zip(self.rows, chosen, strict=True):
            if not row.is_over:
                row.add(token, log_probability, end)

    def let_go(self) -> None:
        """Take the rows that are over out of the batch, where they are enough to be worth the copy."""
        going_on = [place for place, row in enumerate(self.rows) if not row.is_over]
        if not going_on or len(going_on) > GOING_ON * len(self.rows):
            return
        kept = torch.tensor(going_on, device=self.read.device)
        self.cache.batch_select_indices(kept)
        self.states, self.written, self.read = self.states[kept], self.written[kept], self.read[kept]
        self.mask = None if self.mask is None else self.mask[kept]
        self.rows = [self.rows[place] for place in going_on]


def _suppressed_tokens(
    model: WhisperForConditionalGeneration, config: GenerationConfig
) -> tuple[Tensor, Tensor]:
    """Return which tokens of the vocabulary are never written, and which not as the first."""
    return _marked(model, config.suppress_tokens), _marked(model, config.begin_suppress_tokens)


def _marked(model: WhisperForConditionalGeneration, tokens: Sequence[int] | None) -> Tensor:
    weight = model.proj_out.weight
    marked = torch.zeros(len(weight), dtype=torch.bool)
    marked[[token for token in tokens or () if token < len(weight)]] = True
    return marked.to(weight.device)
