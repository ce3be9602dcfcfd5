"""Whisper's token ids, which follow from the vocabulary's size alone."""

from __future__ import annotations

from dataclasses import dataclass

from transformers.models.whisper.tokenization_whisper import LANGUAGES

from whisper_peft.errors import ModelError

ENGLISH_ONLY_SIZE = 51_864
"""50 256 byte pairs + end of text + start of transcript + 99 languages + 6 marks + 1501 timestamps."""

TIMESTAMPS = 1501
"""0.00 to 30.00 s in steps of 20 ms."""


@dataclass(frozen=True, slots=True)
class WhisperVocabulary:
    """Ids of the special tokens of a Whisper vocabulary.

    The order is OpenAI's: end of text, start of transcript, languages, translate, transcribe, start of LM,
    start of previous text, no speech, no timestamps, timestamps (openai/whisper, `tokenizer.py`).

    Args:
        size: Rows of the token embedding: 51 864 (English-only), 51 865 (99 languages) or 51 866 (100).

    Example:
        >>> vocabulary = WhisperVocabulary(51_865)
        >>> vocabulary.end_of_text, vocabulary.start_of_transcript, vocabulary.no_timestamps
        (50257, 50258, 50363)
        >>> WhisperVocabulary(51_864).is_multilingual
        False
    """

    size: int

    def __post_init__(self) -> None:
        if not ENGLISH_ONLY_SIZE <= self.size <= ENGLISH_ONLY_SIZE + 2:
            raise ModelError(
                f"the checkpoint has {self.size} tokens",
                "Whisper has 51864 (English-only), 51865 (99 languages) or 51866 (100 languages)",
                "give a folder in Hugging Face format, which brings its own tokenizer",
            )

    @property
    def is_multilingual(self) -> bool:
        """Whether the model was trained on more than English."""
        return self.size > ENGLISH_ONLY_SIZE

    @property
    def end_of_text(self) -> int:
        """Id of `<|endoftext|>`, which also serves as beginning, padding and unknown token."""
        return 50_257 if self.is_multilingual else 50_256

    @property
    def start_of_transcript(self) -> int:
        """Id of `<|startoftranscript|>`."""
        return self.end_of_text + 1

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the language tokens in order of their ids; 99, or 100 with Cantonese."""
        return tuple(LANGUAGES)[: 100 if self.size == ENGLISH_ONLY_SIZE + 2 else 99]

    def language_ids(self) -> dict[str, int]:
        """Return the id of each language token, such as `{"<|en|>": 50259}`."""
        first = self.start_of_transcript + 1
        return {f"<|{code}|>": first + index for index, code in enumerate(self.languages)}

    @property
    def translate(self) -> int:
        """Id of `<|translate|>`."""
        return self.start_of_transcript + 1 + len(self.languages)

    @property
    def transcribe(self) -> int:
        """Id of `<|transcribe|>`."""
        return self.translate + 1

    @property
    def no_timestamps(self) -> int:
        """Id of `<|notimestamps|>`; timestamps begin behind it."""
        return self.translate + 5

    def special_tokens(self) -> dict[str, int]:
        """Return every special token with its id, without the timestamps."""
        marks = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
        return {
            "<|endoftext|>": self.end_of_text,
            "<|startoftranscript|>": self.start_of_transcript,
            **self.language_ids(),
            **{f"<|{mark}|>": self.translate + offset for offset, mark in enumerate(marks)},
        }


def timestamp_tokens() -> list[str]:
    """Return the timestamp tokens in order of their ids, which follow `<|notimestamps|>`.

    Example:
        >>> timestamp_tokens()[:2], timestamp_tokens()[-1]
        (['<|0.00|>', '<|0.02|>'], '<|30.00|>')
    """
    return [f"<|{step * 0.02:.2f}|>" for step in range(TIMESTAMPS)]
