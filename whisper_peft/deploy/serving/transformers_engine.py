"""One base in memory and many adapters, chosen batch by batch."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from whisper_peft.deploy.serving.engine import Heard, ServedModel, Window
from whisper_peft.evaluation.encoder_states import EncoderStates, pad_states
from whisper_peft.evaluation.generation import (
    AudioContext,
    Generation,
    audio_frames,
    decode_states,
    decoder_prefix,
    encode,
    listening,
)
from whisper_peft.evaluation.long_form import detect_languages
from whisper_peft.evaluation.transcription import encode_prompt
from whisper_peft.evaluation.word_alignment import examine
from whisper_peft.model.adapter_sets import at_work
from whisper_peft.model.loading import Whisper
from whisper_peft.types import SAMPLING_RATE, Waveform

ENCODED_TOGETHER_S = 30.0
"""Seconds that the encoder hears at once on a CPU: one full window, or a dozen short clips. Sixteen
windows of 30 s at once take a fifth longer than one after the other: their activations leave the caches."""

FRAMES_PER_SECOND = 100


class TransformersEngine:
    """The engine of every model that this library trains, in every precision.

    The adapter that spoke last stays at work until another is asked for: changing costs as much as folding
    it into the weights, a few milliseconds for small models.

    Args:
        whisper: The base, with all adapters attached.
        adapters: PEFT's name of the adapter behind each served name; None is the base alone.
        models: The served models.
    """

    def __init__(
        self, whisper: Whisper, adapters: Mapping[str, str | None], models: Sequence[ServedModel]
    ) -> None:
        self.whisper = whisper
        self.models = {model.name: model for model in models}
        self._adapters = adapters
        self._speaking: str | None = None
        self._work = ExitStack()

    def prompt_tokens(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a prompt; what it writes like a special token is left out."""
        end = int(self.whisper.tokenizer.eos_token_id)
        return tuple(token for token in encode_prompt(self.whisper, text) if token < end)

    def batch_key(self, model: str, window: Window) -> Hashable:
        """Return the number of tokens before the transcript: a batch has one prefix length."""
        return len(window.prompt)

    def transcribe(self, model: str, windows: Sequence[Window]) -> list[Heard]:
        """Transcribe windows whose prompts are of one length."""
        self._let_speak(model)
        context = self.models[model].audio_context
        with listening(self.whisper):
            told = self._told_languages(windows)
            prefixes = [
                decoder_prefix(self.whisper, window.language, window.task, prompt_tokens=window.prompt)
                for window in told
            ]
            states = self._encoded([window.waveform for window in told], context)
            seconds = [window.duration_s for window in told]
            found = decode_states(self.whisper, states, prefixes, seconds=seconds)
            return [
                self._heard(window, states[row], prefixes[row], found[row]) for row, window in enumerate(told)
            ]

    def _let_speak(self, model: str) -> None:
        if model == self._speaking:
            return
        self._speaking = None
        self._work.close()
        self._work.enter_context(at_work(self.whisper, self._adapters[model]))
        self._speaking = model

    def _encoded(self, waveforms: Sequence[Waveform], context: AudioContext) -> EncoderStates:
        """Encode a batch, on a CPU in parts whose attention stays in its caches; decoding gains from all."""
        limit_s = ENCODED_TOGETHER_S if self.whisper.device.type == "cpu" else math.inf
        parts, seconds = [list[Waveform]()], 0.0
        for waveform in waveforms:
            heard_s = audio_frames(len(waveform) / SAMPLING_RATE, context) / FRAMES_PER_SECOND
            if parts[-1] and seconds + heard_s > limit_s:
                parts.append([])
                seconds = 0.0
            parts[-1].append(waveform)
            seconds += heard_s
        encoded = [encode(self.whisper, part, audio_context=context) for part in parts]
        rows = [states[row].hidden[0] for states in encoded for row in range(len(states))]
        return pad_states(rows)

    def _told_languages(self, windows: Sequence[Window]) -> list[Window]:
        """Return the windows with languages; where none is given, the likeliest of the window."""
        unknown = [place for place, window in enumerate(windows) if window.language is None]
        if not unknown or not self.whisper.is_multilingual:
            return [replace(window, language=window.language or "en") for window in windows]
        states = encode(self.whisper, [windows[place].waveform for place in unknown], audio_context="full")
        found = dict(zip(unknown, detect_languages(self.whisper, states), strict=True))
        return [
            replace(window, language=found.get(place, window.language))
            for place, window in enumerate(windows)
        ]

    def _heard(
        self, window: Window, states: EncoderStates, prefix: Sequence[int], generation: Generation
    ) -> Heard:
        heard = Heard(generation.text, generation.tokens, window.language or "en")
        if not window.detailed:
            return heard
        seen = examine(
            self.whisper,
            states,
            prefix,
            generation.tokens,
            language=heard.language,
            duration_s=window.duration_s,
        )
        return replace(
            heard,
            words=seen.words,
            mean_log_probability=seen.mean_log_probability,
            no_speech_probability=seen.no_speech_probability,
        )
