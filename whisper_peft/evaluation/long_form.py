"""Recordings of any length: Whisper's own windows of 30 s, each moved on to where the last segment ended.

The rules are openai-whisper's (`transcribe.py`), without its temperature fallback: a recording is transcribed
the same twice. Windows are told the text before them only when asked, so that a loop cannot spread.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from whisper_peft.data.targets.timestamps import TIMESTAMP_S
from whisper_peft.evaluation.encoder_states import EncoderStates, cross_attention_within
from whisper_peft.evaluation.generation import Generation, log_mel, token_id
from whisper_peft.model.loading import Whisper
from whisper_peft.model.log_mel import MAX_FRAMES
from whisper_peft.types import SAMPLING_RATE, WINDOW_S, Waveform

WINDOW_SAMPLES = int(WINDOW_S * SAMPLING_RATE)

SHORTEST_ADVANCE_S = 0.5
"""A window moves on by at least this, so that no recording is heard more than 60 times."""

DYNAMIC_RANGE = 2.0
"""Whisper's features are `(log10(power) + 4) / 4`, clamped 8 decades under the maximum."""

NO_SPEECH_PROBABILITY = 0.6
"""A window is silent where the model says so with more than this (openai-whisper, `no_speech_threshold`)"""

MEAN_LOG_PROBABILITY = -1.0
"""and is on average less certain of its words than this (openai-whisper, `logprob_threshold`),"""

COMPRESSION_RATIO = 2.4
"""or repeats itself so that zlib shrinks the text by more than this (`compression_ratio_threshold`)."""


@dataclass(frozen=True, slots=True)
class TimedTokens:
    """A segment of one window; seconds count from the window's start."""

    start_s: float
    end_s: float
    tokens: tuple[int, ...]


def cut_into_segments(
    tokens: Sequence[int], *, timestamp_begin: int, window_s: float
) -> tuple[list[TimedTokens], float]:
    """Cut what was generated for a window at its timestamps, and say by how many seconds to move on.

    A segment that the window breaks off is left to the next window, which starts where it began. Where the
    window ends in silence, or has no inner timestamps, it is done with whole.

    Args:
        tokens: Text and timestamp tokens, without end-of-text.
        timestamp_begin: Id of `<|0.00|>`.
        window_s: Length of the window.

    Example:
        >>> cut_into_segments([100, 7, 200, 200, 8], timestamp_begin=100, window_s=30.0)
        ([TimedTokens(start_s=0.0, end_s=2.0, tokens=(100, 7, 200))], 2.0)
    """
    stamped = [token >= timestamp_begin for token in tokens]
    cuts = [place for place in range(1, len(tokens)) if stamped[place - 1] and stamped[place]]
    ends_in_silence = stamped[-2:] == [False, True]
    if not cuts:
        last = tokens[-1] if ends_in_silence else None
        end_s = window_s if last is None else (last - timestamp_begin) * TIMESTAMP_S
        return [TimedTokens(0.0, min(end_s, window_s), tuple(tokens))], window_s
    advance_s = max((tokens[cuts[-1]] - timestamp_begin) * TIMESTAMP_S, SHORTEST_ADVANCE_S)
    ends = [*cuts, len(tokens)] if ends_in_silence else cuts
    segments = [
        _timed(tokens[start:end], timestamp_begin, window_s)
        for start, end in zip([0, *ends], ends, strict=False)
    ]
    return segments, window_s if ends_in_silence else min(advance_s, window_s)


def _timed(tokens: Sequence[int], timestamp_begin: int, window_s: float) -> TimedTokens:
    start_s, end_s = ((tokens[end] - timestamp_begin) * TIMESTAMP_S for end in (0, -1))
    return TimedTokens(min(start_s, window_s), min(end_s, window_s), tuple(tokens))


def quietest_feature(whisper: Whisper, waveform: Waveform) -> float:
    """Return the least feature value of a recording: 8 decades of power (2, as features) under its loudest.

    Each window alone would be scaled to its own maximum, and the noise of a pause would look like speech.
    """
    windows = [waveform[start : start + WINDOW_SAMPLES] for start in range(0, len(waveform), WINDOW_SAMPLES)]
    loudest = max(float(log_mel(whisper, [window], frames=MAX_FRAMES).max()) for window in windows)
    return loudest - DYNAMIC_RANGE


def detect_languages(whisper: Whisper, states: EncoderStates) -> list[str]:
    """Return the code of the likeliest language of each row of encoder states. Call it while `listening`."""
    start = whisper.generation_config.decoder_start_token_id
    logits = _next_logits(whisper, states, [[start]] * len(states))
    ids: dict[str, int] = whisper.generation_config.to_dict()["lang_to_id"]
    best = logits[:, list(ids.values())].argmax(dim=-1).tolist()
    return [list(ids)[place].strip("<|>") for place in best]


def find_silent_windows(
    whisper: Whisper,
    states: EncoderStates,
    prefixes: Sequence[Sequence[int]],
    generations: Sequence[Generation],
) -> list[bool]:
    """Tell the windows in which nobody speaks, whatever was generated for them. Call it while `listening`.

    The certainty is that of the words and end-of-text; timestamps, which are never certain, do not count.
    """
    chances = no_speech_probabilities(whisper, states, prefixes)
    return [
        chance > NO_SPEECH_PROBABILITY
        and (
            compression_ratio(generation.text) > COMPRESSION_RATIO
            or _certainty(whisper, states[row], prefix, generation) < MEAN_LOG_PROBABILITY
        )
        for row, (chance, prefix, generation) in enumerate(zip(chances, prefixes, generations, strict=True))
    ]


def no_speech_probabilities(
    whisper: Whisper, states: EncoderStates, prefixes: Sequence[Sequence[int]]
) -> list[float]:
    """Return how likely the model holds it that nobody speaks in each row. Call it while `listening`."""
    start = whisper.generation_config.decoder_start_token_id
    no_speech = token_id(whisper, "<|notimestamps|>") - 1
    up_to_start = [[*prefix[: list(prefix).index(start) + 1]] for prefix in prefixes]
    chances: list[float] = _next_logits(whisper, states, up_to_start).softmax(dim=-1)[:, no_speech].tolist()
    return chances


def compression_ratio(text: str) -> float:
    """Return how much smaller zlib makes a text; ordinary sentences stay under 2.

    Example:
        >>> compression_ratio("Thank you. " * 20) > COMPRESSION_RATIO > compression_ratio("Thank you.")
        True
    """
    content = text.encode()
    return len(content) / len(zlib.compress(content))


def _next_logits(whisper: Whisper, states: EncoderStates, prefixes: Sequence[Sequence[int]]) -> Tensor:
    with cross_attention_within(whisper.core, states.mask):
        output = whisper.core(
            encoder_outputs=BaseModelOutput(last_hidden_state=states.hidden),
            decoder_input_ids=torch.tensor(prefixes, device=whisper.device),
        )
    logits: Tensor = output.logits[:, -1].float()
    return logits


def _certainty(
    whisper: Whisper, states: EncoderStates, prefix: Sequence[int], generation: Generation
) -> float:
    """Return the mean log-probability of a window's words and end-of-text."""
    end = whisper.tokenizer.eos_token_id
    tokens = torch.tensor([*prefix, *generation.tokens, end], device=whisper.device)
    output = whisper.core(
        encoder_outputs=BaseModelOutput(last_hidden_state=states.hidden), decoder_input_ids=tokens[None, :-1]
    )
    log_probabilities = output.logits[0, len(prefix) - 1 :].float().log_softmax(dim=-1)
    written = tokens[len(prefix) :]
    words = written <= end
    return float(log_probabilities[words].gather(1, written[words][:, None]).mean())
