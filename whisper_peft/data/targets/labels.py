"""From a transcript to what the decoder reads and what it must write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from whisper_peft.data.targets.timestamps import Placed, on_grid, place, timed_text
from whisper_peft.data.text.text_style import TextCase
from whisper_peft.errors import DataError, did_you_mean
from whisper_peft.recipe.sections import TargetSection
from whisper_peft.types import MAX_LABEL_TOKENS, WINDOW_S, Utterance

IGNORED = -100
"""Label of a position without a target, as in torch.nn.functional.cross_entropy."""

WRITTEN_WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages whose text Whisper begins without a space (openai-whisper, tokenizer.py)."""


MAX_PREVIOUS_TOKENS = 223
"""Previous text takes at most half of the decoder's positions, `<|startofprev|>` included (openai-whisper,
`decoding.py`: `n_ctx // 2 - 1`)."""


@dataclass(frozen=True, slots=True)
class TargetKind:
    """How a window is written: with timestamps or without, and whether the text before is told."""

    timestamps: bool = False
    previous_text: bool = False


PLAIN = TargetKind()
NO_OTHER_TARGETS = TargetSection()
NO_MIX: Mapping[str | None, TextCase] = {}


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

    Text to be restored is in sentence case until it is.

    Example:
        >>> recase("NORTHANGER ABBEY", "sentence")
        'Northanger abbey'
    """
    if case in ("as-is", "auto"):
        return text
    lower = text.lower()
    return lower if case == "lower" else lower[:1].upper() + lower[1:]


class Labeller:
    """Build decoder inputs and labels: one start token, language and task by row, prefix masked, end scored.

    The text is given the leading space that Whisper itself writes, so that the first word keeps its token.

    Args:
        tokenizer: A Whisper tokenizer.
        multilingual: Whether the checkpoint has language and task tokens.
        language: Language of rows that have none of their own.
        task: Task of rows that have none of their own.
        text_case: Case of the training text.
        targets: Whether the prefix is scored, and whether texts may come with timestamps.
        mixed_cases: Case of the training text by the name of a source that is mixed in.

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
        targets: TargetSection = NO_OTHER_TARGETS,
        mixed_cases: Mapping[str | None, TextCase] = NO_MIX,
    ) -> None:
        self.tokenizer = tokenizer
        self.multilingual = multilingual
        self.language = language_code(language) if language else None
        self.task = task
        self.text_case: TextCase = text_case
        self.targets = targets
        self.mixed_cases = mixed_cases
        self._special_ids: dict[str, int] = {}

    def __call__(self, utterance: Utterance) -> Target:
        """Return the plain target of an utterance.

        Raises:
            DataError: If the language of the row is unknown, missing, or not one that the checkpoint is told.
        """
        return self.window(place([utterance], [0.0]))

    def window(self, placed: Sequence[Placed], kind: TargetKind = PLAIN) -> Target:
        """Return the target of utterances heard one after the other, in the first one's language and task.

        Previous text comes with its times where the window is timed and they are known, as openai-whisper
        tells them, and is cut from the left to what the decoder has room for.
        """
        first = placed[0].utterance
        prefix = self.prefix(first, timestamps=kind.timestamps)
        text = [token for one in placed for token in self._text_ids(one, timestamps=kind.timestamps)]
        tokens = (*prefix, *text, self._id("<|endoftext|>"))
        before = self._previous_ids(first, kind, len(tokens)) if kind.previous_text else ()
        unscored = len(before) if self.targets.learn_prefix else len(before) + len(prefix) - 1
        every = (*before, *tokens)
        labels = [*[IGNORED] * unscored, *every[unscored + 1 :]]
        return Target(every[:-1], tuple(labels))

    def length(self, utterance: Utterance) -> int:
        """Return the most decoder positions that the utterance takes, without previous text."""
        timed = self.targets.timestamps > 0 or self.targets.long_form > 0
        kinds = (PLAIN, TargetKind(timestamps=True)) if timed else (PLAIN,)
        placed = place([utterance], [utterance.duration_s or WINDOW_S])
        return max(len(self.window(placed, kind).labels) for kind in kinds)

    def prefix(self, utterance: Utterance, *, timestamps: bool = False) -> tuple[int, ...]:
        """Return the tokens before the text, from start-of-transcript to no-timestamps, if there are none."""
        start = self._id("<|startoftranscript|>")
        plain = () if timestamps else (self._id("<|notimestamps|>"),)
        language = self._language(utterance)
        if not self.multilingual:
            return start, *plain
        task = utterance.task or self.task
        return start, self._id(f"<|{language}|>"), self._id(f"<|{task}|>"), *plain

    def _language(self, utterance: Utterance) -> str:
        return told_language(utterance.language or self.language, multilingual=self.multilingual)

    def _text_ids(self, placed: Placed, *, timestamps: bool) -> list[int]:
        utterance = placed.utterance
        text = self._recased(utterance, utterance.text)
        if not timestamps:
            return self._encode(text, utterance) if text else []
        zero = self._id("<|notimestamps|>") + 1
        if not text:
            return [zero]
        return [
            token
            for start, end, part in on_grid(timed_text(placed, text))
            for token in (zero + start, *self._encode(part, utterance), zero + end)
        ]

    def _previous_ids(self, utterance: Utterance, kind: TargetKind, taken: int) -> tuple[int, ...]:
        """Return the tokens of the text before, as many as fit beside `taken` others."""
        text, segments = (utterance.previous_text or "").strip(), utterance.previous_segments
        room = min(MAX_PREVIOUS_TOKENS, MAX_LABEL_TOKENS - taken)
        if not text or room < 1:
            return ()
        said = replace(utterance, text=text, segments=segments)
        before = Placed(said, 0.0, segments[-1].end_s if segments else 0.0)
        tokens = self._text_ids(before, timestamps=kind.timestamps and bool(segments))
        return self._id("<|startofprev|>"), *tokens[-room:]

    def _recased(self, utterance: Utterance, text: str) -> str:
        return recase(text.strip(), self.mixed_cases.get(utterance.source, self.text_case))

    def _encode(self, text: str, utterance: Utterance) -> list[int]:
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
