"""From waveforms to transcripts, one batch at a time: the only place where Whisper writes text.

Greedy or beam search on encoder states and decoder prefixes of our own. So every precision, adapter and audio
context takes the same path, each row can have its own language and context, and nothing is detected, sampled
or carried over from other speech behind the caller's back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import LogitsProcessorList, WhisperTimeStampLogitsProcessor

from whisper_peft.data.batches.audio_contexts import context_frames
from whisper_peft.data.targets.labels import MAX_PREVIOUS_TOKENS, told_language
from whisper_peft.evaluation.beam_search import search_beams
from whisper_peft.evaluation.encoder_states import EncoderStates, pad_states
from whisper_peft.evaluation.endings import RowLimits, longest_repetition
from whisper_peft.evaluation.greedy_search import is_plain, search_greedily
from whisper_peft.model.loading import Whisper
from whisper_peft.model.log_mel import MAX_FRAMES, LogMel
from whisper_peft.types import FRAMES_PER_SECOND, SAMPLING_RATE, WINDOW_S, Waveform

AudioContext: TypeAlias = Literal["full", "cut"]

TOKENS_PER_SECOND_CAP = 40
"""No speech is denser: Burmese, whose letters Whisper spells byte by byte, takes 2.8 tokens a letter at about
13 letters a second. English and French prompts take at most 7 tokens a second."""

TOKENS_CAP_OFFSET = 64
"""Room for timestamps, and for a long word in a very short clip."""

HEARD_AT_ONCE_S = 30.0
"""Seconds that the encoder hears at once on a CPU: one full window, or a dozen short clips. Sixteen
windows of 30 s at once take a fifth longer than one after the other: their activations leave the caches."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One generated transcript.

    `tokens` are the text and timestamp tokens after the prefix, without end-of-text. `looping` tells that the
    model did not end the row, which was stopped: it repeated itself, or reached its cap, and healthy speech
    does neither. What it wrote until then is kept, repetitions and all: a transcript is never mended in
    silence, and its word errors count. `mean_log_probability` is of the tokens and of the end; None after a
    beam search.
    """

    text: str
    tokens: tuple[int, ...]
    looping: bool
    mean_log_probability: float | None = None


def generate_transcripts(
    whisper: Whisper,
    waveforms: Sequence[Waveform],
    *,
    language: str | Sequence[str | None] | None,
    task: str | Sequence[str] = "transcribe",
    audio_context: AudioContext = "full",
    num_beams: int = 1,
    prompt_tokens: Sequence[int] = (),
) -> list[str]:
    """Transcribe one batch of clips of at most 30 s, without timestamps.

    Args:
        whisper: Model and companions; its mode is restored afterwards, so this may be called while training.
        waveforms: Samples at 16 kHz.
        language: Language of all clips, or of each. An English-only checkpoint takes None or English.
        task: transcribe or translate, for all clips or of each.
        audio_context: full: 30 s, as Whisper was trained; cut: as much as each clip lasts.
        num_beams: Beams of the search; 1 is greedy.
        prompt_tokens: Text that comes before, as tokens; the last 223 are read.

    Raises:
        DataError: If a language is unknown, missing, or not one that the checkpoint is told.
    """
    generations = generate(
        whisper,
        waveforms,
        language=language,
        task=task,
        audio_context=audio_context,
        num_beams=num_beams,
        prompt_tokens=prompt_tokens,
    )
    return [generation.text for generation in generations]


def generate(
    whisper: Whisper,
    waveforms: Sequence[Waveform],
    *,
    language: str | Sequence[str | None] | None,
    task: str | Sequence[str] = "transcribe",
    audio_context: AudioContext = "full",
    num_beams: int = 1,
    prompt_tokens: Sequence[int] = (),
    timestamps: bool = False,
) -> list[Generation]:
    """Transcribe one batch as `generate_transcripts` does, with the tokens and whether a row looped.

    With `timestamps` the text is cut into segments by timestamp tokens, under Whisper's rules for them.
    """
    if not waveforms:
        return []
    languages = [language] * len(waveforms) if language is None or isinstance(language, str) else language
    tasks = [task] * len(waveforms) if isinstance(task, str) else task
    prefixes = [
        decoder_prefix(whisper, spoken, wanted, timestamps=timestamps, prompt_tokens=prompt_tokens)
        for spoken, wanted in zip(languages, tasks, strict=True)
    ]
    with listening(whisper):
        states = encode(whisper, waveforms, audio_context=audio_context)
        seconds = [len(waveform) / SAMPLING_RATE for waveform in waveforms]
        return decode_states(
            whisper, states, prefixes, seconds=seconds, num_beams=num_beams, timestamps=timestamps
        )


def decoder_prefix(
    whisper: Whisper,
    language: str | None,
    task: str,
    *,
    timestamps: bool = False,
    prompt_tokens: Sequence[int] = (),
) -> list[int]:
    """Return the tokens that the decoder is given: previous text, start, language, task, no-timestamps.

    Raises:
        DataError: If a language is unknown, missing, or not one that the checkpoint is told.
    """
    names = ["<|startoftranscript|>"]
    code = check_language(whisper, language)
    if whisper.is_multilingual:
        names += [f"<|{code}|>", f"<|{task}|>"]
    names += [] if timestamps else ["<|notimestamps|>"]
    if prompt_tokens:
        names.insert(0, "<|startofprev|>")
    ids = [token_id(whisper, name) for name in names]
    if not prompt_tokens:
        return ids
    return [ids[0], *prompt_tokens[-MAX_PREVIOUS_TOKENS:], *ids[1:]]


def token_id(whisper: Whisper, token: str) -> int:
    """Return the id of a special token, such as `<|notimestamps|>`: sizes and versions of Whisper differ."""
    found: Any = whisper.tokenizer.convert_tokens_to_ids(token)
    return int(found)


def check_language(whisper: Whisper, language: str | None) -> str:
    """Return the code of the language that the checkpoint is told; `en` for English-only checkpoints.

    Raises:
        DataError: If the language is unknown, missing, or not one that the checkpoint is told.
    """
    return told_language(language, multilingual=whisper.is_multilingual)


@contextmanager
def listening(whisper: Whisper) -> Iterator[None]:
    """Switch to evaluation without gradients, in the model's precision, and back to each module's own mode.

    Evaluation mode is also what makes gradient checkpointing step aside, so that decoding can cache.
    """
    modes = {module: module.training for module in whisper.model.modules()}
    whisper.model.eval()
    try:
        with torch.no_grad(), whisper.precision.autocast(whisper.device):
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def audio_frames(duration_s: float, audio_context: AudioContext) -> int:
    """Return the log-mel frames that the encoder hears of a clip.

    Example:
        >>> audio_frames(3.2, "cut"), audio_frames(3.2, "full")
        (350, 3000)
    """
    return context_frames(duration_s) if audio_context == "cut" else MAX_FRAMES


def encode(
    whisper: Whisper,
    waveforms: Sequence[Waveform],
    *,
    audio_context: AudioContext,
    floors: Sequence[float] = (),
) -> EncoderStates:
    """Return what the encoder hears, each row at its own context. Call it while `listening`.

    Rows of one context are heard together, so a row's states do not depend on the others'; on a CPU as many
    at once as leave attention in its caches.

    Args:
        whisper: Model and companions.
        waveforms: Samples at 16 kHz.
        audio_context: full: 30 s; cut: as much as each clip lasts.
        floors: For each row the least value of its features, where the clip is part of a louder recording.
    """
    alike: dict[int, list[int]] = {}
    for row, waveform in enumerate(waveforms):
        seconds = len(waveform) / SAMPLING_RATE
        if seconds > WINDOW_S:
            raise ValueError(f"a clip of {seconds:.2f} s does not fit Whisper's window of {WINDOW_S:.0f} s")
        alike.setdefault(audio_frames(seconds, audio_context), []).append(row)
    states: dict[int, Tensor] = {}
    for frames, alike_rows in alike.items():
        for rows in _heard_at_once(alike_rows, frames, whisper.device):
            features = log_mel(whisper, [waveforms[row] for row in rows], frames=frames)
            if floors:
                least = torch.tensor([floors[row] for row in rows], device=features.device)
                features = features.maximum(least[:, None, None])
            states |= zip(rows, _hear(whisper, features), strict=True)
    return pad_states([states[row] for row in range(len(waveforms))])


def _heard_at_once(rows: Sequence[int], frames: int, device: torch.device) -> Iterator[Sequence[int]]:
    most = max(int(HEARD_AT_ONCE_S * FRAMES_PER_SECOND) // frames, 1) if device.type == "cpu" else len(rows)
    for start in range(0, len(rows), most):
        yield rows[start : start + most]


def _hear(whisper: Whisper, features: Tensor) -> Tensor:
    encoder = whisper.core.get_encoder()
    states: Tensor = encoder(features.to(encoder.conv1.weight.dtype)).last_hidden_state
    return states


def log_mel(whisper: Whisper, waveforms: Sequence[Waveform], *, frames: int) -> Tensor:
    """Return Whisper's features of a batch on its device, shape `(batch, mels, frames)`, in fp32."""
    samples = [torch.from_numpy(np.asarray(waveform, dtype=np.float32)) for waveform in waveforms]
    padded = pad_sequence(samples, batch_first=True).to(whisper.device)
    features: Tensor = _log_mel(whisper.num_mel_bins, whisper.device)(padded, frames=frames)
    return features


def decode_states(
    whisper: Whisper,
    states: EncoderStates,
    prefixes: Sequence[Sequence[int]],
    *,
    seconds: Sequence[float],
    num_beams: int = 1,
    timestamps: bool = False,
) -> list[Generation]:
    """Search the transcripts of encoder states. Call it while `listening`.

    Args:
        whisper: Model and companions.
        states: What `encode` returned.
        prefixes: What the decoder is given for each row; all of one length.
        seconds: Duration of each row, which limits its tokens.
        num_beams: Beams of the search; 1 is greedy.
        timestamps: Whether to apply Whisper's rules of timestamp tokens.
    """
    start = len(prefixes[0])
    room = whisper.config.max_target_positions - start
    limits = [RowLimits(min(token_cap(s), room), longest_repetition(s)) for s in seconds]
    config, end = whisper.generation_config, int(whisper.tokenizer.eos_token_id)
    rules = [WhisperTimeStampLogitsProcessor(config, begin_index=start)] if timestamps else []
    search = (
        search_greedily if num_beams == 1 and is_plain(config) else partial(search_beams, num_beams=num_beams)
    )
    found = search(
        whisper.core,
        states,
        torch.tensor(prefixes, device=whisper.device),
        config=config,
        limits=limits,
        end=end,
        rules=LogitsProcessorList(rules),
    )
    return [
        Generation(
            text_of(whisper, row.tokens).strip(), tuple(row.tokens), not row.ended, row.mean_log_probability
        )
        for row in found
    ]


def token_cap(duration_s: float) -> int:
    """Return the number of tokens that no healthy transcript of so many seconds reaches.

    It ends loops early: a loop in a clip of 3 s costs 184 steps instead of 446.

    Example:
        >>> token_cap(3.0)
        184
    """
    return TOKENS_CAP_OFFSET + math.ceil(TOKENS_PER_SECOND_CAP * duration_s)


@lru_cache(maxsize=4)
def _log_mel(num_mel_bins: int, device: torch.device) -> LogMel:
    return LogMel(num_mel_bins).to(device)


def text_of(whisper: Whisper, tokens: Sequence[int]) -> str:
    """Return the text of generated tokens, with the space before it if there is one.

    Special and timestamp tokens have greater ids than end-of-text.
    """
    end = int(whisper.tokenizer.eos_token_id)
    words = [token for token in tokens if token < end]
    return str(whisper.tokenizer.decode(words, clean_up_tokenization_spaces=False))
