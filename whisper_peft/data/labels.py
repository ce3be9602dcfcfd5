"""From a transcript to what the decoder reads and what it must write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from whisper_peft.data.text_style import TextCase
from whisper_peft.errors import DataError, did_you_mean
from whisper_peft.types import Utterance

IGNORED = -100
"""Label of a position without a target, as in torch.nn.functional.cross_entropy."""

WRITTEN_WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages whose text Whisper begins without a space (openai-whisper, tokenizer.py)."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the decoder reads, and what it must write at each of those positions.

    Both are of the same length; a label is `IGNORED` where the prefix is still being read. The last label is
    end-of-text.
    """

    decoder_input_ids: tuple[int, ...]
    labels: tuple[int, ...]


def language_code(language: str) -> str:
    """Return Whisper's code of a language given by code, name or locale.

    Raises:
        DataError: If Whisper knows no such language.

    Example:
        >>> language_code("French"), language_code("fr"), language_code("fr-CA")
        ('fr', 'fr', 'fr')
    """
    name = language.strip().lower()
    name = name if name in TO_LANGUAGE_CODE else name.replace("_", "-").split("-")[0]
    if name in LANGUAGES:
        return name
    if name in TO_LANGUAGE_CODE:
        return str(TO_LANGUAGE_CODE[name])
    raise DataError(
        f"language {language!r} is unknown",
        "Whisper has no token for it",
        did_you_mean(name, [*LANGUAGES, *TO_LANGUAGE_CODE]).split("Known:")[0]
        + "give a code such as en or fr",
    )


def told_language(language: str | None, *, multilingual: bool) -> str:
    """Return the code of the language that a checkpoint is told; `en` for English-only checkpoints.

    Raises:
        DataError: If the language is unknown, a multilingual checkpoint is given none, or an English-only one
            another.

    Example:
        >>> told_language("French", multilingual=True), told_language(None, multilingual=False)
        ('fr', 'en')
    """
    code = language_code(language) if language else None
    if multilingual and code is None:
        raise DataError(
            "no language is given",
            "a multilingual checkpoint is always told the language: on short clips it guesses badly",
            "set model.language, such as --model.language fr, or give the rows a language column",
        )
    if not multilingual and code not in (None, "en"):
        raise DataError(
            f"language {language!r} for an English-only checkpoint",
            "it knows no other language",
            "choose a multilingual checkpoint, such as openai/whisper-tiny, or leave the language out",
        )
    return code or "en"


def recase(text: str, case: TextCase) -> str:
    """Return the text in the wanted case; auto, which is for a corpus to decide, is as it is.

    Example:
        >>> recase("NORTHANGER ABBEY", "sentence")
        'Northanger abbey'
    """
    if case in ("as-is", "auto"):
        return text
    lower = text.lower()
    return lower[:1].upper() + lower[1:] if case == "sentence" else lower


class Labeller:
    """Build decoder inputs and labels: one start token, language and task by row, prefix masked, end scored.

    The text is given the leading space that Whisper itself writes, so that the first word keeps its token.

    Args:
        tokenizer: A Whisper tokenizer.
        multilingual: Whether the checkpoint has language and task tokens.
        language: Language of rows that have none of their own.
        task: Task of rows that have none of their own.
        text_case: Case of the training text.

    Raises:
        DataError: If `language` is unknown.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        multilingual: bool,
        language: str | None,
        task: str = "transcribe",
        text_case: TextCase = "as-is",
    ) -> None:
        self.tokenizer = tokenizer
        self.multilingual = multilingual
        self.language = language_code(language) if language else None
        self.task = task
        self.text_case: TextCase = text_case
        self._special_ids: dict[str, int] = {}

    def __call__(self, utterance: Utterance) -> Target:
        """Return the target of an utterance.

        Raises:
            DataError: If the language of the row is unknown, missing, or not one that the checkpoint is told.
        """
        return self.joined((utterance,))

    def joined(self, utterances: Sequence[Utterance]) -> Target:
        """Return the target of utterances heard one after the other, in the first one's language and task."""
        prefix = self.prefix(utterances[0])
        text = [token for utterance in utterances for token in self._text_ids(utterance)]
        tokens = (*prefix, *text, self._id("<|endoftext|>"))
        masked = len(prefix) - 1
        return Target(tokens[:-1], (*[IGNORED] * masked, *tokens[len(prefix) :]))

    def length(self, utterance: Utterance) -> int:
        """Return the decoder positions that the utterance takes."""
        return len(self.prefix(utterance)) + len(self._text_ids(utterance))

    def prefix(self, utterance: Utterance) -> tuple[int, ...]:
        """Return the tokens before the text, from start-of-transcript to no-timestamps."""
        start, plain = self._id("<|startoftranscript|>"), self._id("<|notimestamps|>")
        language = self._language(utterance)
        if not self.multilingual:
            return start, plain
        task = utterance.task or self.task
        return start, self._id(f"<|{language}|>"), self._id(f"<|{task}|>"), plain

    def _language(self, utterance: Utterance) -> str:
        return told_language(utterance.language or self.language, multilingual=self.multilingual)

    def _text_ids(self, utterance: Utterance) -> list[int]:
        text = recase(utterance.text.strip(), self.text_case)
        spaced = self.multilingual and self._language(utterance) in WRITTEN_WITHOUT_SPACES
        # an over-long text is counted by its row check, so the tokenizer need not warn of it
        ids = self.tokenizer.encode(text if spaced else f" {text}", add_special_tokens=False, verbose=False)
        return [int(token) for token in ids]

    def _id(self, token: str) -> int:
        if token not in self._special_ids:
            self._special_ids[token] = self._look_up(token)
        return self._special_ids[token]

    def _look_up(self, token: str) -> int:
        found = self.tokenizer.convert_tokens_to_ids(token)
        unknown = self.tokenizer.unk_token_id if token != self.tokenizer.unk_token else None
        if not isinstance(found, int) or found == unknown:
            raise DataError(f"the tokenizer has no token {token}", "this checkpoint was not trained with it")
        return found
