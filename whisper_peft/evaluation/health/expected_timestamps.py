"""What a model holds of timestamps where they belong, all before them being given.

What is written freely hangs on one first slip, and a few windows hold few of them. Given the text and the
timestamps before, each place where an utterance ends tells by itself: how likely any timestamp is there, and
how far from the right one those lie that are likely.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import BaseModelOutput

from whisper_peft.data.targets.labels import WRITTEN_WITHOUT_SPACES
from whisper_peft.data.targets.timestamps import TIMESTAMP_S
from whisper_peft.evaluation.encoder_states import EncoderStates, cross_attention_within
from whisper_peft.evaluation.generation import token_id
from whisper_peft.evaluation.health.evidence import ExpectedTimestamp
from whisper_peft.evaluation.probes.stitched import Stitched
from whisper_peft.model.loading import Whisper


def expected_timestamps(
    whisper: Whisper, states: EncoderStates, prefixes: Sequence[Sequence[int]], windows: Sequence[Stitched]
) -> list[tuple[ExpectedTimestamp, ...]]:
    """Return what is held of each end of an utterance, window by window. Call it while `listening`.

    Args:
        whisper: Model and companions.
        states: What `encode` returned.
        prefixes: Tokens before the text of each window, the first timestamp included.
        windows: Utterances with their texts, and where each ends.
    """
    begin = token_id(whisper, "<|notimestamps|>") + 1
    room = whisper.core.config.max_target_positions
    given = [
        [*prefix, *_timed_text(whisper, window, begin)][:room]
        for prefix, window in zip(prefixes, windows, strict=True)
    ]
    tokens = pad_sequence([torch.tensor(row) for row in given], batch_first=True, padding_value=begin)
    with cross_attention_within(whisper.core, states.mask):
        output = whisper.core(
            encoder_outputs=BaseModelOutput(last_hidden_state=states.hidden),
            decoder_input_ids=tokens.to(whisper.device),
        )
    return [
        tuple(_held(row, len(prefix), output.logits[place].float(), begin))
        for place, (row, prefix) in enumerate(zip(given, prefixes, strict=True))
    ]


def _timed_text(whisper: Whisper, window: Stitched, begin: int) -> Iterator[int]:
    """Yield each text, where it ends, and where the next one begins, which is the same."""
    spaced = window.language not in WRITTEN_WITHOUT_SPACES
    for utterance, end_s in zip(window.utterances, window.ends_s, strict=True):
        text = f" {utterance.text}" if spaced else utterance.text
        yield from whisper.tokenizer.encode(text, add_special_tokens=False, verbose=False)
        yield from [begin + round(end_s / TIMESTAMP_S)] * 2


def _held(tokens: Sequence[int], start: int, logits: Tensor, begin: int) -> Iterator[ExpectedTimestamp]:
    """Yield what the logits say at the last token of each text."""
    for place in range(start, len(tokens) - 1):
        if tokens[place] < begin <= tokens[place + 1]:
            chances = logits[place].softmax(dim=-1)[begin:]
            steps = (torch.arange(len(chances), device=chances.device) - (tokens[place + 1] - begin)).abs()
            probability = float(chances.sum())
            distance_s = float((chances * steps).sum()) / probability * TIMESTAMP_S
            yield ExpectedTimestamp(probability, distance_s)
