"""One base in memory and many adapters, chosen batch by batch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from whisper_peft.deploy.serving.engine import Heard, ServedModel, Window
from whisper_peft.evaluation.encoder_states import EncoderStates
from whisper_peft.evaluation.generation import (
    Generation,
    decode_states,
    decoder_prefix,
    encode,
    listening,
)
from whisper_peft.evaluation.long_form import detect_languages
from whisper_peft.evaluation.transcription import encode_prompt
from whisper_peft.evaluation.word_alignment import examine
from whisper_peft.model.adapters.sets import at_work
from whisper_peft.model.loading import Whisper


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
            states = encode(self.whisper, [window.waveform for window in told], audio_context=context)
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
