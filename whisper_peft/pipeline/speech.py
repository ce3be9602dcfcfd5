"""The speech of a run: found before weights are loaded, checked and counted before time is spent."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from whisper_peft.data.audio_contexts import AudioContexts
from whisper_peft.data.augmentation import build_augmentation
from whisper_peft.data.checking import RowCheck, check_row, check_rows
from whisper_peft.data.collation import Collator
from whisper_peft.data.decoding import decode
from whisper_peft.data.labels import Labeller
from whisper_peft.data.neighbours import with_previous_text
from whisper_peft.data.no_speech import Quiet
from whisper_peft.data.sources import Source, open_split
from whisper_peft.data.target_draws import TargetDraws
from whisper_peft.data.text_style import TextCase, TextStyle, choose_text_case, text_style
from whisper_peft.errors import AudioError
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.paths import with_absolute_paths
from whisper_peft.recipe.sections import EvalSection, Recipe
from whisper_peft.reporting.run_report import DataRecord
from whisper_peft.types import SAMPLING_RATE, WINDOW_S, Utterance

STYLE_SAMPLE = 100
"""Transcripts that are looked at to tell how a corpus writes."""

CASE_SENTENCES = {
    "as-is": "as it is",
    "lower": "in lower case",
    "sentence": "in sentence case",
    "restore": "as the untuned model writes it, where the words agree",
}


@dataclass(frozen=True)
class TrainingRows:
    """What there is to learn from.

    Attributes:
        utterances: The rows of a local source, or a stream that checks each row as it passes.
        collator: Turns them into batches.
        check: What was counted before training; None for a stream.
        record: The report's block.
    """

    utterances: Sequence[Utterance] | CheckedStream
    collator: Collator
    check: RowCheck | None
    record: DataRecord

    @property
    def skipped(self) -> Mapping[str, int]:
        """Rows left out so far, by reason."""
        return self.check.skipped if self.check else dict(self.stream_skipped)

    @property
    def stream_skipped(self) -> Mapping[str, int]:
        """Rows of the stream left out in its first pass, by reason."""
        return self.utterances.skipped if isinstance(self.utterances, CheckedStream) else {}


@dataclass
class CheckedStream:
    """A stream without the rows that cannot be learned from; they are counted in the first pass."""

    source: Source
    labeller: Labeller
    recipe: Recipe
    skipped: Counter[str] = field(default_factory=Counter)
    _passes: int = 0

    def __iter__(self) -> Iterator[Utterance]:
        return with_previous_text(self._checked())

    def _checked(self) -> Iterator[Utterance]:
        self._passes += 1
        counting = self._passes == 1
        for utterance in self.source:
            checked, reason = check_row(
                utterance, section=self.recipe.data, label_length=self.labeller.length
            )
            if reason is None:
                yield checked
            elif counting:
                self.skipped[reason] += 1


@dataclass(frozen=True)
class Speech:
    """The splits of a run, opened."""

    recipe: Recipe
    train: Source
    eval: Source

    @cached_property
    def dev(self) -> Source:
        """The split that the best step is chosen on: `data.dev`, or the scored one."""
        return open_split(self.recipe.data, "dev")

    def sentences(self) -> tuple[str, ...]:
        """Return what was opened, a line for each split."""
        chooses = self.recipe.eval.steps is not None
        opened = [self.train, self.eval, *([self.dev] if chooses and self.recipe.data.dev else [])]
        style = f"the training text is in {self.text_style}; it is learned {CASE_SENTENCES[self.text_case]}"
        return (*(source.sentence for source in opened), f"{style} (data.text_case)")

    @cached_property
    def text_style(self) -> TextStyle:
        """How the first transcripts of the training split are written."""
        return text_style(row.text for row in itertools.islice(self.train, STYLE_SAMPLE))

    @property
    def text_case(self) -> TextCase:
        """The case that the training text is put in."""
        return choose_text_case(self.recipe.data.text_case, self.text_style)

    def resolved_recipe(self) -> Recipe:
        """Return the recipe as it runs again, from anywhere: with what was found in the speech."""
        found = {"train": self.train.split, "eval": self.eval.split, "text_case": self.text_case}
        data = self.recipe.data.model_copy(update=found)
        return with_absolute_paths(self.recipe.model_copy(update={"data": data, "output_dir": None}))

    def check(self, whisper: Whisper) -> TrainingRows:
        """Count what can be learned from; a stream is checked while it passes.

        Raises:
            DataError: If nothing can, or a language or augmentation setting is unfit.
        """
        recipe = self.recipe
        labeller = Labeller(
            whisper.tokenizer,
            multilingual=whisper.is_multilingual,
            language=recipe.model.language,
            task=recipe.model.task,
            text_case=self.text_case,
            targets=recipe.targets,
        )
        collator = Collator(
            labeller,
            build_augmentation(recipe.augment),
            recipe.augment.spec_augment,
            AudioContexts.of(recipe.train, seed=recipe.train.seed),
            num_mel_bins=whisper.num_mel_bins,
            seed=recipe.train.seed,
            draws=TargetDraws(recipe.targets, recipe.train.seed),
            quiet=Quiet.of(recipe.targets.no_speech_source),
        )
        if self.train.is_stream:
            stream = CheckedStream(self.train, labeller, recipe)
            return TrainingRows(stream, collator, None, self._record(None))
        check = check_rows(self.train, section=recipe.data, label_length=labeller.length)
        return TrainingRows(tuple(with_previous_text(check.kept)), collator, check, self._record(check))

    def _record(self, check: RowCheck | None) -> DataRecord:
        return DataRecord(
            source=str(self.recipe.data.source),
            train_split=self.train.split,
            eval_split=self.eval.split,
            hours=check.hours if check else None,
            utterances=len(check.kept) if check else None,
            skipped=dict(check.skipped) if check else {},
            text_style=str(self.text_style),
        )


def open_speech(recipe: Recipe) -> Speech:
    """Open the splits of a recipe.

    Raises:
        DataError: If the source or a split is missing or of no known kind.
    """
    return Speech(recipe, open_split(recipe.data, "train"), open_split(recipe.data, "eval"))


def count_to_score(source: Source, section: EvalSection) -> int | None:
    """Return how many utterances will be scored, where that is known."""
    if source.count is None or section.max_utterances is None:
        return source.count
    return min(source.count, section.max_utterances)


def clips_to_compare(source: Iterable[Utterance], most: int) -> tuple[Utterance, ...]:
    """Return the first utterances of a split that can be decoded and fit Whisper's window."""
    return tuple(itertools.islice(_decoded(source), most))


def _decoded(source: Iterable[Utterance]) -> Iterator[Utterance]:
    for utterance in source:
        with suppress(AudioError):
            decoded = decode(utterance)
            if len(decoded.waveform) <= WINDOW_S * SAMPLING_RATE:
                yield decoded
