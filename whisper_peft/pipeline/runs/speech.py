"""The speech of a run: found before weights are loaded, checked and counted before time is spent."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.batches.audio_contexts import AudioContexts
from whisper_peft.data.batches.collation import Collator
from whisper_peft.data.batches.mixing import Mixture
from whisper_peft.data.checking import RowCheck, check_rows
from whisper_peft.data.effects.augmentation import build_augmentation
from whisper_peft.data.sources.opening import Source, open_split
from whisper_peft.data.survey.findings import Suspect
from whisper_peft.data.targets.labels import Labeller
from whisper_peft.data.targets.neighbours import with_previous_text
from whisper_peft.data.targets.no_speech import Quiet
from whisper_peft.data.targets.target_draws import TargetDraws
from whisper_peft.data.text.text_style import (
    CASE_SENTENCES,
    LearnedCase,
    TextStyle,
    choose_text_case,
    text_style,
)
from whisper_peft.errors import AudioError
from whisper_peft.evaluation.generation import check_language
from whisper_peft.model.loading import Whisper
from whisper_peft.pipeline.corpora.nearest_language import ToldLanguage
from whisper_peft.pipeline.runs.checked_stream import CheckedStream
from whisper_peft.pipeline.runs.mixed_speech import (
    STYLE_SAMPLE,
    MixedRows,
    MixedSpeech,
    check_mixed,
    hears_streams,
    mixed_records,
    open_mixed_speech,
)
from whisper_peft.recipe.paths import with_absolute_paths
from whisper_peft.recipe.sections import EvalSection, Recipe
from whisper_peft.reporting.run_report import DataRecord
from whisper_peft.types import SAMPLING_RATE, WINDOW_S, Utterance


@dataclass(frozen=True)
class TrainingRows:
    """What there is to learn from.

    Attributes:
        utterances: The rows of a local source, or a stream that checks each row as it passes.
        collator: Turns them into batches.
        check: What was counted before training; None for a stream.
        record: The report's block.
        mixed: What is learned beside them.
        suspects: Those that stand out.
    """

    utterances: Sequence[Utterance] | CheckedStream
    collator: Collator
    check: RowCheck | None
    record: DataRecord
    mixed: tuple[MixedRows, ...] = ()
    suspects: tuple[Suspect, ...] = ()

    def learned(self, seed: int) -> Sequence[Utterance] | Iterable[Utterance] | Mixture:
        """Return what the steps are made of: the rows, in a mixture where there are others."""
        others = [one.ingredient() for one in self.mixed]
        return Mixture(self.utterances, others, seed=seed) if others else self.utterances

    def sentences(self) -> Iterator[str]:
        """Yield what was counted, a line for each source."""
        if self.check is not None:
            yield self.check.sentence()
        yield from (one.sentence() for one in self.mixed)

    @property
    def skipped(self) -> Mapping[str, int]:
        """Rows left out so far, by reason."""
        return self.check.skipped if self.check else dict(self.stream_skipped)

    @property
    def stream_skipped(self) -> Mapping[str, int]:
        """Rows of streams left out in their first pass, by reason."""
        every = (self.utterances, *(one.utterances for one in self.mixed))
        return sum((rows.skipped for rows in every if isinstance(rows, CheckedStream)), Counter())


@dataclass(frozen=True)
class Speech:
    """The splits of a run, opened."""

    recipe: Recipe
    train: Source
    eval: Source
    told: ToldLanguage = field(default=ToldLanguage(None), kw_only=True)
    mixed: tuple[MixedSpeech, ...] = ()

    @cached_property
    def dev(self) -> Source:
        """The split that the best step is chosen on: `data.dev`, or the scored one."""
        return self.told.source(open_split(self.recipe.data, "dev"))

    def telling(self, told: ToldLanguage) -> Speech:
        """Return the same speech, its rows in languages without a token telling another one."""
        train, scored = told.source(self.train), told.source(self.eval)
        return replace(self, recipe=told.recipe(self.recipe), train=train, eval=scored, told=told)

    def sentences(self) -> tuple[str, ...]:
        """Return what was opened, a line for each split."""
        chooses = self.recipe.eval.steps is not None
        opened = [self.train, self.eval, *([self.dev] if chooses and self.recipe.data.dev else [])]
        style = f"the training text is in {self.text_style}; it is learned {CASE_SENTENCES[self.text_case]}"
        others = itertools.chain.from_iterable(one.sentences() for one in self.mixed)
        return (*(source.sentence for source in opened), f"{style} (data.text_case{self._hint})", *others)

    @cached_property
    def text_style(self) -> TextStyle:
        """How the first transcripts of the training split are written."""
        return text_style(row.text for row in itertools.islice(self.train, STYLE_SAMPLE))

    @property
    def text_case(self) -> LearnedCase:
        """The case that the training text is put in."""
        can_be_heard = not self.train.is_stream or hears_streams(self.recipe)
        return choose_text_case(self.recipe.data.text_case, self.text_style, can_be_heard=can_be_heard)

    @property
    def _hint(self) -> str:
        chosen = self.text_case if self.recipe.data.text_case == "auto" else None
        if chosen == "restore":
            return "; sentence would spare one pass over the speech"
        return "; restore needs one process, and an adapter" if chosen == "sentence" else ""

    def resolved_recipe(self) -> Recipe:
        """Return the recipe as it runs again, from anywhere: with what was found in the speech."""
        found = {"train": self.train.split, "eval": self.eval.split, "text_case": self.text_case}
        mix = tuple(one.resolved() for one in self.mixed)
        data = self.recipe.data.model_copy(update={**found, "mix": mix})
        return with_absolute_paths(self.recipe.model_copy(update={"data": data, "output_dir": None}))

    def check(self, whisper: Whisper) -> TrainingRows:
        """Count what can be learned from; a stream is checked while it passes.

        Raises:
            DataError: If nothing can, or a language or augmentation setting is unfit.
        """
        recipe = self.recipe
        for language in (one.mixed.language for one in self.mixed):
            if language is not None:
                check_language(whisper, language)
        labeller = Labeller(
            whisper.tokenizer,
            multilingual=whisper.is_multilingual,
            language=recipe.model.language,
            task=recipe.model.task,
            text_case=self.text_case,
            targets=recipe.targets,
            mixed_cases={one.name: one.text_case for one in self.mixed},
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

        def checked(source: Source) -> tuple[Sequence[Utterance] | CheckedStream, RowCheck | None]:
            if source.is_stream:
                return CheckedStream(source, labeller, recipe), None
            check = check_rows(source, section=recipe.data, label_length=labeller.length)
            return tuple(with_previous_text(check.kept)), check

        rows, check = checked(self.train)
        mixed = check_mixed(recipe.data, self.mixed, len(check.kept) if check else None, checked)
        return TrainingRows(rows, collator, check, self._record(check, mixed), mixed)

    def _record(self, check: RowCheck | None, mixed: Sequence[MixedRows]) -> DataRecord:
        return DataRecord(
            source=str(self.recipe.data.source),
            train_split=self.train.split,
            eval_split=self.eval.split,
            hours=check.hours if check else None,
            utterances=len(check.kept) if check else None,
            skipped=dict(check.skipped) if check else {},
            text_style=str(self.text_style),
            text_case=self.text_case,
            mixed=mixed_records(self.mixed, mixed),
        )


def open_speech(recipe: Recipe) -> Speech:
    """Open the splits of a recipe.

    Raises:
        DataError: If a source or a split is missing or of no known kind.
        RecipeError: If the sources of a mixture contradict each other.
    """
    mixed = open_mixed_speech(recipe.data, hears_streams=hears_streams(recipe))
    return Speech(recipe, open_split(recipe.data, "train"), open_split(recipe.data, "eval"), mixed)


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
