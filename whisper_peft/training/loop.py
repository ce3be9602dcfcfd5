"""The one loop: LoRA, QLoRA and full fine-tuning, one process or many."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object

from whisper_peft.data.batches.collation import KINDS, Batch, Collator
from whisper_peft.data.batches.loader import StepLoader, choose_workers, explained_worker_loss
from whisper_peft.data.batches.mixing import Mixture
from whisper_peft.data.batches.stream_pools import StreamPlace
from whisper_peft.errors import ResumeError
from whisper_peft.measuring import Stopwatch, memory_bytes, peak_memory_bytes, trim_heap
from whisper_peft.model.checkpoints.generation_defaults import allow_empty_text
from whisper_peft.model.compiling import CompiledLayers
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import Recipe
from whisper_peft.training.cache_choice import choose_cache
from whisper_peft.training.checkpoints import RunState, read_checkpoint, restore_weights, trainable_weights
from whisper_peft.training.disk_room import bytes_in, planned_bytes, refuse_full_disk
from whisper_peft.training.events import Callback, Event, announce
from whisper_peft.training.gradients import Gradients
from whisper_peft.training.guards import (
    ROLLBACK_FACTOR,
    DivergedError,
    Refusal,
    carry_over,
    count_refused,
    refusal,
    remember,
)
from whisper_peft.training.halving import longest_part_s
from whisper_peft.training.interruption import Interruption
from whisper_peft.training.loss import SpeechLoss
from whisper_peft.training.optimization import Optimization
from whisper_peft.training.plan import TrainingPlan
from whisper_peft.training.processes import total_over_processes
from whisper_peft.training.rank_allocation import record_ranks
from whisper_peft.training.run_checkpoints import RunCheckpoints
from whisper_peft.training.speech_start import start_at_speech
from whisper_peft.types import EncoderCacheUse, EvalResult, TrainResult, Utterance

logger = logging.getLogger(__name__)

TRIM_STEPS = 8
"""Steps between trims of the heap, which steps of many sizes leave in pieces; one in each costs a fifth."""


@dataclass
class Training:
    """One run of the loop.

    Args:
        whisper: The model with its adapter attached.
        recipe: What to do.
        rows: Training utterances, undecoded: a sequence, a stream that can be iterated again each epoch, or
            a mixture of several.
        collator: Turns rows into batches.
        accelerator: The processes.
        folder: Run folder.
        evaluate: Scores the model as it is; called every `eval.steps`. It may call `interruption.check`.
        callbacks: Listeners.
        interruption: Catches Ctrl-C while the loop runs.
    """

    whisper: Whisper
    recipe: Recipe
    rows: Sequence[Utterance] | Iterable[Utterance] | Mixture
    collator: Collator
    accelerator: Accelerator
    folder: Path
    evaluate: Callable[[], EvalResult] | None = None
    callbacks: tuple[Callback, ...] = ()
    interruption: Interruption = field(default_factory=Interruption)
    state: RunState = field(default_factory=RunState)

    def __post_init__(self) -> None:
        section = self.recipe.train
        self.world_size = int(self.accelerator.num_processes)
        self.plan = TrainingPlan(self.recipe, self.rows, self.collator, self.whisper.config, self.world_size)
        self.rows_per_step, self.total_steps = self.plan.rows_per_step, self.plan.total_steps
        self.state.rows_per_step, self.state.total_steps = self.rows_per_step, self.total_steps
        self.checkpoints = RunCheckpoints(self.folder, self.accelerator, keep=section.keep_checkpoints)
        weights = trainable_weights(self.whisper.model).values()
        needed = planned_bytes(weights, section, keeps_best=self.recipe.eval.steps is not None)
        there = bytes_in(self.checkpoints.checkpoints, self.checkpoints.best)
        refuse_full_disk(self.folder, needed - there, "what the run saves")
        self.optimization = Optimization(self.whisper, section, self.total_steps)
        process = {"rank": self.accelerator.process_index, "world_size": self.world_size}
        chosen = choose_cache(self.recipe, self.whisper, self.plan, folder=self.folder, **process)
        self.cache, self.cache_sentence = chosen.cache, chosen.sentence
        self.loss = SpeechLoss(self.whisper, self.cache)
        scaler = self.optimization.scaler
        self.gradients = Gradients(
            self.loss,
            self.accelerator,
            scaler,
            seed=section.seed,
            longest_part_s=longest_part_s(section.part_seconds, self.accelerator.device),
            compiled=CompiledLayers(self.whisper.core) if section.compile else None,
        )

    def run(self, resume_from: Path | None = None) -> TrainResult:
        """Train to the last step, to an early stop, or until interrupted; a checkpoint is left in each case.

        Args:
            resume_from: Checkpoint folder to go on from.

        Raises:
            TrainingError: If the run diverges.
            DataError: If no recording can be used.
            ResumeError: If the checkpoint is damaged or belongs to another run.
            StorageError: If a checkpoint cannot be written.
        """
        if resume_from is not None:
            self._restore(resume_from)
        self.checkpoints.clear_leftovers()
        self._tell("start", {})
        if self.recipe.targets.no_speech:
            allow_empty_text(self.whisper.generation_config)
        self.whisper.model.train()
        if resume_from is None and self.recipe.adapter.init_lora_weights == "eva":
            start_at_speech(self.gradients, self._batches(), self.state)
        with self.interruption:
            stopped_by = self._steps()
        if stopped_by != "interrupt":
            self._restore_best()
            self._drop_cache()
        if self.optimization.adalora is not None:
            record_ranks(self.optimization.adalora)
        self._tell("end", {})
        return self._result(stopped_by)

    def _steps(self) -> str:
        if self._out_of_patience():
            return "early_stopping"
        while True:
            # closed also where an error keeps this frame: its workers would keep the process from ending
            with contextlib.closing(self._batches()) as batches, explained_worker_loss():
                try:
                    return self._walk(batches)
                except DivergedError as diverged:
                    reason = diverged
            self._roll_back(reason)

    def _walk(self, batches: Iterator[tuple[Batch, ...]]) -> str:
        """Take the steps, and return why they ended."""
        clock, waiting = Stopwatch(), Stopwatch()
        ended = self._close_step(None) if self.state.evaluation_abandoned else None
        while not ended and self.state.step < self.total_steps:
            clock.seconds = waiting.seconds = 0.0
            with clock:
                with waiting:
                    step = next(batches)
                row = self._step(step)
            ended = self._close_step(self._finish_step(row, step[0], clock.seconds, waiting.seconds))
        return ended or self.plan.ends_by

    def _close_step(self, stop: str | None) -> str | None:
        """Score and save where it is time to, and return why the run ends with this step, if it does."""
        stop = stop or self._maybe_evaluate()
        interrupted = self._any_process(self.interruption.wanted)
        last = self.state.step == self.total_steps or bool(stop) or interrupted
        due = self.state.step % self.recipe.train.checkpoint_steps == 0
        # not among steps that are left out: the run may have to go back to before them
        if last or (due and not self.state.refused_in_a_row):
            self._checkpoint()
        return "interrupt" if interrupted else stop

    def _step(self, batches: tuple[Batch, ...]) -> dict[str, float]:
        """Take one optimiser step; its loss is the mean over the target tokens of all batches and ranks."""
        tokens = sum(batch.target_tokens for batch in batches)
        seconds = sum(batch.audio_seconds for batch in batches)
        # each epoch meets them again
        skipped = [reason for batch in batches if batch.epoch == 0 for _, reason in batch.skipped]
        kinds = [sum(batch.kinds.get(kind, 0) for batch in batches) for kind in KINDS]
        all_tokens, all_seconds, any_skipped, *all_kinds = total_over_processes(
            self.accelerator, tokens, seconds, len(skipped), *kinds
        )
        if any_skipped:
            self._count_skipped(skipped)
        heard_kinds = {kind: int(count) for kind, count in zip(KINDS, all_kinds, strict=True)}
        self.state.targets = dict(Counter(self.state.targets) + Counter(heard_kinds))
        heard = {"audio_seconds": all_seconds, "target_tokens": all_tokens}
        learning_rate = self.optimization.learning_rate
        if not all_tokens:
            return {"loss": math.nan, "learning_rate": learning_rate, "grad_norm": math.nan, **heard}
        summed, was_halved = self.gradients.gather(batches, tokens=all_tokens, state=self.state)
        norm = self.optimization.clip()
        counted = self.cache.count() if self.cache else (0, 0)
        all_loss, hits, misses, halved = total_over_processes(self.accelerator, summed, *counted, was_halved)
        if halved:
            self.gradients.agree(self.state)
        row = {"loss": all_loss / all_tokens, "learning_rate": learning_rate, "grad_norm": norm, **heard}
        self.optimization.step(take=self._refusal(row) is None)
        if self.cache is not None:
            self.state.cache_hits += int(hits)
            self.state.cache_misses += int(misses)
            row["encoder_cache_hit_share"] = hits / (hits + misses)
        return row

    def _count_skipped(self, reasons: list[str]) -> None:
        """Count the rows that any process left out, on all of them."""
        everywhere = gather_object(reasons) if self.world_size > 1 else reasons
        self.state.skipped = dict(Counter(self.state.skipped) + Counter(everywhere))

    def _finish_step(
        self, row: dict[str, float], batch: Batch, seconds: float, wait_seconds: float
    ) -> str | None:
        """Count the step, log it, and return why to stop, if a listener wants to."""
        self._guard(row)
        state = self.state
        state.step += 1
        state.epoch, state.step_in_epoch = batch.epoch, batch.step_in_epoch + 1
        state.audio_seconds += row["audio_seconds"]
        state.train_seconds += seconds
        state.wait_seconds += wait_seconds
        if row["target_tokens"]:
            state.first_loss = row["loss"] if state.first_loss is None else state.first_loss
            state.last_loss = row["loss"]
        measured = {
            "epoch": state.epoch,
            "audio_seconds_per_second": row["audio_seconds"] / seconds,
            "data_wait_share": wait_seconds / seconds,
            "memory_bytes": memory_bytes(),
            "elapsed_s": state.train_seconds,
        }
        if state.step % TRIM_STEPS == 0:
            trim_heap()
        return "callback" if self._tell("step", {**row, **measured}) else None

    def _refusal(self, row: Mapping[str, float]) -> Refusal | None:
        return refusal(
            self.state,
            loss=row["loss"],
            grad_norm=row["grad_norm"],
            tokens=row["target_tokens"],
            spikes=self.recipe.train.skip_spikes,
        )

    def _guard(self, row: Mapping[str, float]) -> None:
        """Count a step that was left out.

        Raises:
            DivergedError: If too many were, one after the other.
        """
        reason = self._refusal(row)
        if reason is None:
            self.state.refused_in_a_row = 0
            remember(self.state, loss=row["loss"], grad_norm=row["grad_norm"])
            return
        count_refused(self.state, reason, loss=row["loss"], grad_norm=row["grad_norm"])

    def _roll_back(self, reason: DivergedError) -> None:
        """Go on from before the steps that were left out, at half the learning rate.

        Raises:
            DataError: If there was nothing to hear in them.
            TrainingError: If there is no such checkpoint, or the run went back often enough.
        """
        before = self.state
        path = self.checkpoints.before_refusals()
        if path is None or not reason.may_go_back(before):
            raise reason.error(before, self.recipe.train.learning_rate)
        self._restore(path)
        self.optimization.slow_down(ROLLBACK_FACTOR ** (before.rollbacks + 1 - self.state.rollbacks))
        carry_over(before, self.state)
        logger.warning("%s: going on from %s at half the learning rate", reason, path.name)
        self._tell("start", {})

    def _maybe_evaluate(self) -> str | None:
        """Score every `eval.steps` and at the end, keep the best, and return why to stop, if at all."""
        every = self.recipe.eval.steps
        if every is None or self.evaluate is None:
            return None
        if self.state.step % every and self.state.step != self.total_steps:
            return None
        state, interrupted = self.state, self._any_process(self.interruption.wanted)
        alone = self.world_size == 1
        result = None if interrupted else self.interruption.abandon_if_wanted(self.evaluate, alone=alone)
        self.whisper.model.train()
        state.evaluation_abandoned = result is None
        if result is None:
            return None
        if state.best_wer is None or result.wer < state.best_wer:
            state.best_step, state.best_wer, state.evaluations_without_gain = state.step, result.wer, 0
            self.checkpoints.save_best(state, self.whisper.model)
        else:
            state.evaluations_without_gain += 1
        row = {"eval_wer": result.wer, "eval_cer": result.cer, "eval_rtfx": result.rtfx}
        wanted = self._tell("evaluation", row, result)
        if self._out_of_patience():
            return "early_stopping"
        return "callback" if wanted else None

    def _out_of_patience(self) -> bool:
        patience = self.recipe.train.early_stopping_patience
        return patience is not None and self.state.evaluations_without_gain >= patience

    def _restore_best(self) -> None:
        """Put back the weights with the lowest WER, where evaluations chose any."""
        if self.state.best_step is not None and self.state.best_step != self.state.step:
            self.checkpoints.restore_best(self.state.best_step, self.whisper.model)

    def _checkpoint(self) -> None:
        state = self.state
        place = self.plan.place_of(epoch=state.epoch, step_in_epoch=state.step_in_epoch)
        state.stream_place = place.to_dict() if place else state.stream_place
        path = self.checkpoints.save(self.state, self.whisper.model, self.optimization)
        if self.accelerator.is_main_process:
            self._tell("checkpoint", {"path": str(path)})

    def _restore(self, path: Path) -> None:
        state, weights, optimizer_state = read_checkpoint(path)
        plan, stored = (self.rows_per_step, self.total_steps), (state.rows_per_step, state.total_steps)
        if plan != stored:
            raise ResumeError(
                f"{path} is of {stored[1]} steps of {stored[0]} rows, this run of {plan[1]} of {plan[0]}",
                "the number of processes or of training rows has changed",
                "resume with those it was started with",
            )
        self.state = state
        restore_weights(self.whisper.model, weights)
        self.optimization.load_state_dict(optimizer_state)

    def _batches(self) -> Generator[tuple[Batch, ...], None, None]:
        section = self.recipe.train
        loader = StepLoader(
            self.collator,
            rank=self.accelerator.process_index,
            world_size=self.world_size,
            micro_batches=section.gradient_accumulation_steps,
            workers=choose_workers(section.workers, processes=self.world_size),
            mark=self.cache.mark if self.cache else None,
            timeout_s=section.data_timeout_s,
        )
        state = self.state
        place = StreamPlace.of_dict(state.stream_place) if state.stream_place else None
        steps = self.plan.steps(epoch=state.epoch, skip=state.step_in_epoch, place=place)
        return loader.load(itertools.islice(steps, self.total_steps - self.state.step))

    def _tell(self, kind: Any, row: dict[str, Any], result: EvalResult | None = None) -> bool:
        event = Event(kind, self.state.step, self.total_steps, row, self.whisper, result)
        stop = announce(event, self.callbacks)
        return self._any_process(stop) if kind in ("step", "evaluation") else stop

    def _any_process(self, wanted: bool) -> bool:
        return total_over_processes(self.accelerator, float(wanted))[0] > 0

    def _result(self, stopped_by: str) -> TrainResult:
        state = self.state
        trainable = sum(weight.numel() for weight in trainable_weights(self.whisper.model).values())
        return TrainResult(
            steps=state.step,
            epochs=self.plan.epochs(step=state.step, epoch=state.epoch),
            first_loss=state.first_loss if state.first_loss is not None else math.nan,
            final_loss=state.last_loss,
            audio_seconds=state.audio_seconds,
            audio_seconds_per_second=state.audio_seconds / max(state.train_seconds, 1e-9),
            data_wait_share=state.wait_seconds / max(state.train_seconds, 1e-9),
            train_seconds=state.train_seconds,
            peak_memory_bytes=peak_memory_bytes(),
            trainable_parameters=trainable,
            total_parameters=self.whisper.parameter_count,
            world_size=self.world_size,
            best_step=state.best_step,
            best_wer=state.best_wer,
            stopped_by=stopped_by,
            skipped=state.skipped,
            targets=state.targets,
            refused_updates=state.refused_updates,
            spikes=state.spikes,
            rollbacks=state.rollbacks,
            micro_batch_parts=state.micro_batch_parts,
            encoder_cache=self._cache_use(),
        )

    def _cache_use(self) -> EncoderCacheUse | None:
        if self.cache is None:
            return None
        (kept_bytes,) = total_over_processes(self.accelerator, self.cache.store.used_bytes)
        state, kind = self.state, self.cache.store.kind
        use = EncoderCacheUse(kind, state.cache_hits, state.cache_misses, int(kept_bytes))
        return use if kept_bytes else None

    def _drop_cache(self) -> None:
        """Free the kept states: a run that goes on another time may still want those on disk."""
        if self.cache is not None:
            self.cache.store.remove()
