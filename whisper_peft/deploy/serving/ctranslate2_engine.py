"""A merged model in CTranslate2's format, which serves one name."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from whisper_peft.data.targets.labels import MAX_PREVIOUS_TOKENS
from whisper_peft.deploy.serving.engine import Heard, ServedModel, Window
from whisper_peft.errors import ServingError
from whisper_peft.evaluation.generation import audio_frames, token_cap
from whisper_peft.evaluation.word_alignment import place_words
from whisper_peft.model.checkpoints.companions import Companions, load_companions
from whisper_peft.model.checkpoints.ctranslate2_format import ctranslate2_config
from whisper_peft.model.checkpoints.finding import resolve_checkpoint
from whisper_peft.model.log_mel import LogMel


@dataclass(frozen=True)
class CTranslate2Model:
    """A model of CTranslate2 with what our own code needs beside it."""

    runtime: Any
    companions: Companions
    num_mel_bins: int
    max_tokens: int

    @property
    def is_multilingual(self) -> bool:
        """Whether it is told the language."""
        return bool(self.companions.generation_config.to_dict()["is_multilingual"])


def load_ctranslate2(
    folder: Path, *, device: str, compute_type: str = "default", threads: int = 0
) -> CTranslate2Model:
    """Load a folder that holds a `model.bin`.

    Args:
        folder: What `export --format ctranslate2` writes.
        device: auto, cpu or cuda.
        compute_type: CTranslate2's; `default` computes as the weights are stored where the device can.
        threads: Threads of the CPU; 0 leaves it to CTranslate2.

    Raises:
        ModelError: If the folder is incomplete or damaged.
        ServingError: If CTranslate2 cannot load it.
    """
    config = ctranslate2_config(folder)
    companions = load_companions(resolve_checkpoint(str(folder)), config)
    try:
        runtime = ctranslate2.models.Whisper(
            str(folder), device=device, compute_type=compute_type, intra_threads=threads
        )
    except (RuntimeError, ValueError) as error:
        raise ServingError(f"CTranslate2 cannot load {folder}", str(error), "export it again") from error
    return CTranslate2Model(runtime, companions, config.num_mel_bins, config.max_target_positions)


class CTranslate2Engine:
    """The engine of merged and exported models.

    Args:
        loaded: The model.
        model: What it is served as.
    """

    def __init__(self, loaded: CTranslate2Model, model: ServedModel) -> None:
        self.models = {model.name: model}
        self._loaded = loaded
        self._log_mel = LogMel(loaded.num_mel_bins)

    def prompt_tokens(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a prompt; what it writes like a special token is left out."""
        tokenizer = self._loaded.companions.tokenizer
        tokens = tokenizer.encode(f" {text.strip()}", add_special_tokens=False) if text.strip() else []
        end = int(tokenizer.eos_token_id)
        return tuple(int(token) for token in tokens if token < end)[-MAX_PREVIOUS_TOKENS:]

    def batch_key(self, model: str, window: Window) -> Hashable:
        """Return prompt length and context: CTranslate2 takes no mask of what was heard."""
        return len(window.prompt), audio_frames(window.duration_s, self.models[model].audio_context)

    def transcribe(self, model: str, windows: Sequence[Window]) -> list[Heard]:
        """Transcribe windows of one context and one prompt length, greedily."""
        frames = audio_frames(windows[0].duration_s, self.models[model].audio_context)
        states = self._loaded.runtime.encode(self._features(windows, frames))
        languages = self._languages(windows)
        prefixes = [self._prefix(one, spoken) for one, spoken in zip(windows, languages, strict=True)]
        longest = token_cap(max(window.duration_s for window in windows))
        found = self._loaded.runtime.generate(
            states,
            prefixes,
            beam_size=1,
            max_length=min(len(prefixes[0]) + longest, self._loaded.max_tokens),
            return_scores=True,
            return_no_speech_prob=True,
        )
        return [
            self._heard(window, spoken, one)
            for window, spoken, one in zip(windows, languages, found, strict=True)
        ]

    def _features(self, windows: Sequence[Window], frames: int) -> Any:
        samples = [torch.from_numpy(np.asarray(window.waveform, np.float32)) for window in windows]
        features = self._log_mel(pad_sequence(samples, batch_first=True), frames=frames)
        return ctranslate2.StorageView.from_array(np.ascontiguousarray(features.numpy()))

    def _languages(self, windows: Sequence[Window]) -> list[str]:
        if not self._loaded.is_multilingual:
            return ["en"] * len(windows)
        unknown = [place for place, window in enumerate(windows) if window.language is None]
        found = dict[int, str]()
        if unknown:
            features = self._features([windows[place] for place in unknown], audio_frames(30.0, "full"))
            likeliest = self._loaded.runtime.detect_language(features)
            found = {
                place: ranked[0][0].strip("<|>") for place, ranked in zip(unknown, likeliest, strict=True)
            }
        return [found.get(place) or str(window.language) for place, window in enumerate(windows)]

    def _prefix(self, window: Window, language: str) -> list[int]:
        before = [self._id("<|startofprev|>"), *window.prompt] if window.prompt else []
        return [*before, *self._start(language, window.task), self._id("<|notimestamps|>")]

    def _start(self, language: str, task: str) -> list[int]:
        told = [f"<|{language}|>", f"<|{task}|>"] if self._loaded.is_multilingual else []
        return [self._id(token) for token in ("<|startoftranscript|>", *told)]

    def _id(self, token: str) -> int:
        found: Any = self._loaded.companions.tokenizer.convert_tokens_to_ids(token)
        return int(found)

    def _heard(self, window: Window, language: str, result: Any) -> Heard:
        tokenizer = self._loaded.companions.tokenizer
        written = result.sequences_ids[0][: token_cap(window.duration_s)]
        tokens = tuple(token for token in written if token < tokenizer.eos_token_id)
        text = str(tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)).strip()
        if not window.detailed:
            return Heard(text, tokens, language)
        # CTranslate2 divides by the tokens without end-of-text, and `avg_logprob` counts it
        certainty = result.scores[0] * len(tokens) / (len(tokens) + 1)
        words = self._words(window, language, tokens) if tokens else ()
        return Heard(text, tokens, language, words, certainty, result.no_speech_prob)

    def _words(self, window: Window, language: str, tokens: tuple[int, ...]) -> Any:
        frames = audio_frames(window.duration_s, next(iter(self.models.values())).audio_context)
        heard = min(int(window.duration_s * 100), frames)
        (aligned,) = self._loaded.runtime.align(
            self._features([window], frames), self._start(language, window.task), [list(tokens)], [heard]
        )
        rows, columns = zip(*aligned.alignments, strict=True) if aligned.alignments else ((), ())
        tokenizer = self._loaded.companions.tokenizer
        return place_words(tokenizer, tokens, language, rows, columns, window.duration_s)
