"""Beam search as kept by transformers, with rows that end by their own limits.

It also takes the greedy search of checkpoints whose generation config asks for more than Whisper's own, such
as penalties for repetition.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    WhisperForConditionalGeneration,
)
from transformers.modeling_outputs import BaseModelOutput

from whisper_peft.evaluation.encoder_states import EncoderStates, cross_attention_within
from whisper_peft.evaluation.endings import Found, RowLimits


def search_beams(
    model: WhisperForConditionalGeneration,
    states: EncoderStates,
    prefixes: Tensor,
    *,
    config: GenerationConfig,
    limits: Sequence[RowLimits],
    end: int,
    rules: LogitsProcessorList,
    num_beams: int,
) -> list[Found]:
    """Search as `search_greedily` does, among `num_beams` transcripts of each row at a time."""
    start = prefixes.shape[1]
    longest = start + max(limit.tokens for limit in limits)
    generator: Any = model
    with cross_attention_within(model, states.mask):
        sequences = GenerationMixin.generate(
            generator,
            generation_config=_search_config(config, max_length=longest, num_beams=num_beams),
            encoder_outputs=BaseModelOutput(last_hidden_state=states.hidden),
            # Whisper masks nothing; without a mask transformers warns about padding that is not there.
            attention_mask=torch.ones(states.hidden.shape[:2], dtype=torch.long, device=prefixes.device),
            decoder_input_ids=prefixes,
            logits_processor=rules,
            stopping_criteria=StoppingCriteriaList([_RowEndings(limits, start, end)]),
        )
    rows = [list(takewhile(lambda token: token != end, row)) for row in sequences[:, start:].tolist()]
    return [
        Found(row, ended=not limit.are_reached(row, end=end)) for row, limit in zip(rows, limits, strict=True)
    ]


def _search_config(config: GenerationConfig, *, max_length: int, num_beams: int) -> GenerationConfig:
    """Return the checkpoint's own settings (suppressed tokens, special ids) with our search."""
    ours = deepcopy(config)
    ours.update(
        max_length=max_length,
        max_new_tokens=None,
        num_beams=num_beams,
        do_sample=False,
        use_cache=True,
        return_dict_in_generate=False,
    )
    return ours


class _RowEndings(StoppingCriteria):
    """End each row at its own limits, so that a row's transcript does not depend on its neighbours."""

    def __init__(self, limits: Sequence[RowLimits], start: int, end: int) -> None:
        self.limits, self.start, self.end = limits, start, end

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        beams = len(input_ids) // len(self.limits)
        rows = input_ids[:, self.start :].tolist()
        over = [self.limits[place // beams].are_reached(row, end=self.end) for place, row in enumerate(rows)]
        return torch.tensor(over, device=input_ids.device)
