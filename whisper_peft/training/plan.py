"""Which steps a run takes, in which order: epoch after epoch, to the last."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from transformers import WhisperConfig

from whisper_peft.data.batches.batching import EpochPlan, StepPlan
from whisper_peft.data.batches.collation import Collator
from whisper_peft.data.batches.mixing import Mixture
from whisper_peft.data.batches.stream_pools import StreamPlace
from whisper_peft.data.batches.work import WorkModel
from whisper_peft.data.targets.windowing import Windowing
from whisper_peft.errors import DataError, RecipeError
from whisper_peft.recipe.sections import Recipe, TrainSection
from whisper_peft.types import Utterance


class TrainingPlan:
    """The steps of a run, a function of recipe, rows and number of processes.

    Args:
        recipe: What to do.
        rows: Training utterances, undecoded: a sequence, a stream that can be iterated again each epoch, or
            a mixture of several.
        collator: Tells the audio contexts, and how much augmentation may lengthen speech.
        config: Sizes of the model, which tell the work of a batch.
        world_size: Number of processes.

    Raises:
        RecipeError: If the rows are a stream, and neither `train.max_steps` nor `train.stream_steps` is set.
    """

    def __init__(
        self,
        recipe: Recipe,
        rows: Sequence[Utterance] | Iterable[Utterance] | Mixture,
        collator: Collator,
        config: WhisperConfig,
        world_size: int,
    ) -> None:
        section = recipe.train
        hands = section.gradient_accumulation_steps * world_size
        self.rows, self.seed, self.contexts = rows, section.seed, collator.contexts
        self.rows_per_step = section.batch_size * hands
        self._places: deque[tuple[int, StreamPlace]] = deque()
        self.epoch_plan = EpochPlan(
            rows_per_step=self.rows_per_step,
            seconds_per_step=None if section.batch_seconds is None else section.batch_seconds * hands,
            window=recipe.data.shuffle_window,
            work=work_model(config, collator),
            buckets=section.length_buckets,
            windowing=Windowing(
                stitched=section.audio_context == "packed",
                longest_stretch=collator.augmentation.longest_stretch,
                long_form=recipe.targets.long_form,
                no_speech=recipe.targets.no_speech,
            ),
        )
        self.steps_per_epoch = self._steps_per_epoch()
        self.total_steps = section.max_steps or self._steps_of(section)
        counted = "stream_steps" if self.steps_per_epoch is None else "epochs"
        self.ends_by = counted if section.max_steps is None else "max_steps"

    def steps(self, *, epoch: int, skip: int, place: StreamPlace | None = None) -> Iterator[StepPlan]:
        """Yield steps for as long as they are asked for, from an epoch on, without the first of that epoch.

        The interrupted epoch is replayed without decoding; a stream from the place of its pool on.

        Raises:
            DataError: If an epoch has no rows.
        """
        for number in itertools.count(epoch):
            step = None
            for step in self.epoch_plan.steps(
                self._rows_in(number), seed=self.seed, epoch=number, place=place
            ):
                if step.step_in_epoch >= skip:
                    self._note(step)
                    yield step
            if step is None:
                raise DataError(
                    "the training split ran out of rows", "it yields none in a new epoch", "check data.train"
                )
            skip, place = 0, None

    def place_of(self, *, epoch: int, step_in_epoch: int) -> StreamPlace | None:
        """Return where the pool of a step begins, or of the one before it; None if none of them was met."""
        here, found = (epoch, step_in_epoch), None
        for number, place in self._places:
            found = place if (number, place.step) <= here else found
        while self._places and self._places[0][1] is not found and found is not None:
            self._places.popleft()
        return found

    def _note(self, step: StepPlan) -> None:
        """Remember the pools of steps to come: they are planned ahead of the one that is taken."""
        if step.place is not None and (not self._places or self._places[-1][1] is not step.place):
            self._places.append((step.epoch, step.place))

    def epochs(self, *, step: int, epoch: int) -> float:
        """Return the passes over the data; of a stream, whose length is not known, only the whole ones."""
        return float(epoch) if self.steps_per_epoch is None else round(step / self.steps_per_epoch, 3)

    @property
    def every_row(self) -> Sequence[Utterance] | None:
        """All rows of the run, known before it begins; None where some are streamed."""
        rows = self.rows.every_row if isinstance(self.rows, Mixture) else self.rows
        return rows if isinstance(rows, Sequence) else None

    def _rows_in(self, epoch: int) -> Sequence[Utterance] | Iterable[Utterance]:
        return self.rows.of_epoch(epoch) if isinstance(self.rows, Mixture) else self.rows

    def _steps_per_epoch(self) -> int | None:
        """Return the steps of the first epoch: in mixtures, or stitched windows, others differ by a few."""
        rows = self._rows_in(0)
        if isinstance(rows, Sequence):
            return sum(1 for _ in self.epoch_plan.steps(rows, seed=self.seed, epoch=0))
        known = self.rows.rows_in_epoch if isinstance(self.rows, Mixture) else None
        if known is None or self.epoch_plan.seconds_per_step is not None:
            return None
        return math.ceil(known / self.rows_per_step)

    def _steps_of(self, section: TrainSection) -> int:
        if self.steps_per_epoch is not None:
            return max(1, math.ceil(section.epochs * self.steps_per_epoch))
        if section.stream_steps is None:
            raise RecipeError(
                "train.max_steps is not set",
                "the training split is a stream, so the length of an epoch is not known",
                "give it, such as --train.max-steps 1000",
            )
        return section.stream_steps


def work_model(config: WhisperConfig, collator: Collator) -> WorkModel:
    """Return what a window costs a model of this configuration."""
    return WorkModel.of_whisper(
        collator.contexts,
        collator.draws,
        d_model=config.d_model,
        encoder_layers=config.encoder_layers,
        decoder_layers=config.decoder_layers,
        encoder_ffn_dim=config.encoder_ffn_dim,
        decoder_ffn_dim=config.decoder_ffn_dim,
        vocab_size=config.vocab_size,
        num_mel_bins=config.num_mel_bins,
    )
