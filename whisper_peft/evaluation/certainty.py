"""How sure a model is of what it wrote, asked after the search: one pass of the decoder for a whole batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import BaseModelOutput

from whisper_peft.evaluation.encoder_states import EncoderStates, cross_attention_within
from whisper_peft.evaluation.generation import Generation, token_id
from whisper_peft.model.loading import Whisper


@dataclass(frozen=True, slots=True)
class Certainty:
    """What a model holds of one transcript of its own.

    Attributes:
        mean_log_probability: Of its words and of the end, which a loop makes unlikely: openai-whisper's
            `avg_logprob`, without the timestamps, which are never certain.
        no_speech_probability: How likely nobody speaks at all.
    """

    mean_log_probability: float
    no_speech_probability: float

    @property
    def confidence(self) -> float:
        """The probability of a token, as their geometric mean: between 0 and 1.

        Example:
            >>> round(Certainty(-0.25, 0.01).confidence, 3)
            0.779
        """
        return math.exp(self.mean_log_probability)


def certainties(
    whisper: Whisper,
    states: EncoderStates,
    prefixes: Sequence[Sequence[int]],
    generations: Sequence[Generation],
) -> list[Certainty]:
    """Return how sure the model is of each row of a batch. Call it while `listening`.

    Args:
        whisper: Model and companions.
        states: What `encode` returned.
        prefixes: What the decoder was given for each row.
        generations: What it wrote.
    """
    end = int(whisper.tokenizer.eos_token_id)
    written = [[*generation.tokens, end] for generation in generations]
    rows = [torch.tensor([*prefix, *tokens]) for prefix, tokens in zip(prefixes, written, strict=True)]
    tokens = pad_sequence(rows, batch_first=True, padding_value=end).to(whisper.device)
    with cross_attention_within(whisper.core, states.mask):
        output = whisper.core(
            encoder_outputs=BaseModelOutput(last_hidden_state=states.hidden), decoder_input_ids=tokens[:, :-1]
        )
    start = whisper.generation_config.decoder_start_token_id
    no_speech = token_id(whisper, "<|notimestamps|>") - 1
    found = []
    for row, (prefix, wrote) in enumerate(zip(prefixes, written, strict=True)):
        logits: Tensor = output.logits[row].float()
        silence = logits[list(prefix).index(start)].softmax(dim=-1)[no_speech]
        spoken = logits[len(prefix) - 1 : len(prefix) - 1 + len(wrote)].log_softmax(dim=-1)
        chosen = torch.tensor(wrote, device=whisper.device)
        words = spoken.gather(1, chosen[:, None])[:, 0][chosen <= end]
        found.append(Certainty(float(words.mean()), float(silence)))
    return found
