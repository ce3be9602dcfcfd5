"""The one loop: LoRA, QLoRA and full fine-tuning, one process or many."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from whisper_peft.data.collation import Batch, Collator
from whisper_peft.data.loader import StepLoader, choose_workers
from whisper_peft.errors import DataError, ResumeError, TrainingError
from whisper_peft.measuring import Stopwatch, memory_bytes, peak_memory_bytes
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import Recipe
from whisper_peft.training.cache_choice import choose_cache
from whisper_peft.training.checkpoints import (
    RunState,
    keep_referred,
    read_checkpoint,
    restore_weights,
    save_checkpoint,
    trainable_weights,
)
from whisper_peft.training.events import Callback, Event, announce
from whisper_peft.training.interruption import Interruption
from whisper_peft.training.loss import SpeechLoss
from whisper_peft.training.optimization import Optimization
from whisper_peft.training.plan import TrainingPlan
from whisper_peft.training.processes import on_main_process, total_over_processes
from whisper_peft.training.rank_allocation import record_ranks
from whisper_peft.types import EncoderCacheUse, EvalResult, TrainResult, Utterance

MOST_REFUSED_IN_A_ROW = 10
"""Steps in a row that changed nothing after which a run stops: it has diverged, or has no rows to hear."""

CHECKPOINTS = "checkpoints"
BEST = "best"
"""Name of the folder, beside the checkpoints, that holds the weights with the lowest WER."""


@dataclass
class Training:
    """One run of the loop.

    Args:
        whisper: The model with its adapter attached.
        recipe: What to do.
        rows: Training utterances, undecoded: a sequence, or a stream that can be iterated again each epoch.
        collator: Turns rows into batches.
        accelerator: The processes.
        folder: Run folder.
        evaluate: Scores the model as it is; called every `eval.steps`. It may call `interruption.check`.
        callbacks: Listeners.
        interruption: Catches Ctrl-C while the loop runs.
    """

    whisper: Whisper
    recipe: Recipe
    rows: Sequence[Utterance] | Iterable[Utterance]
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
        self.optimization = Optimization(self.whisper, section, self.total_steps)
        process = {"rank": self.accelerator.process_index, "world_size": self.world_size}
        chosen = choose_cache(self.recipe, self.whisper, self.plan, folder=self.folder, **process)
        self.cache, self.cache_sentence = chosen.cache, chosen.sentence
        module = SpeechLoss(self.whisper, self.cache)
        self.loss = self.accelerator.prepare(module) if self.world_size > 1 else module
        self._refused_in_a_row = 0

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
        self._tell("start", {})
        self.whisper.model.train()
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
        # closed also where an error keeps this frame: its workers would keep the process from ending
        with contextlib.closing(self._batches()) as batches:
            return self._walk(batches)

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
        return ended or "max_steps"

    def _close_step(self, stop: str | None) -> str | None:
        """Score and save where it is time to, and return why the run ends with this step, if it does."""
        stop = stop or self._maybe_evaluate()
        interrupted = self._any_process(self.interruption.wanted)
        last = self.state.step == self.total_steps or bool(stop) or interrupted
        if last or self.state.step % self.recipe.train.checkpoint_steps == 0:
            self._checkpoint()
        return "interrupt" if interrupted else stop

    def _step(self, batches: tuple[Batch, ...]) -> dict[str, float]:
        """Take one optimiser step; its loss is the mean over the target tokens of all batches and ranks."""
        tokens = sum(batch.target_tokens for batch in batches)
        seconds = sum(batch.audio_seconds for batch in batches)
        skipped = [reason for batch in batches for _, reason in batch.skipped]
        all_tokens, all_seconds, any_skipped = total_over_processes(
            self.accelerator, tokens, seconds, len(skipped)
        )
        if any_skipped:
            self._count_skipped(skipped)
        heard = {"audio_seconds": all_seconds, "target_tokens": all_tokens}
        learning_rate = self.optimization.learning_rate
        if not all_tokens:
            return {"loss": math.nan, "learning_rate": learning_rate, "grad_norm": math.nan, **heard}
        summed = 0.0
        for number, batch in enumerate(batches):
            with self._synchronised(last=number == len(batches) - 1):
                self._seed_dropout(number)
                loss = self._loss(batch)
                # DDP averages gradients over processes; the global mean wants their sum.
                scaled = loss * (self.world_size / all_tokens)
                self.optimization.scaler.scale(scaled).backward()
                summed += float(loss.detach())
        norm = self.optimization.step()
        counted = self.cache.count() if self.cache else (0, 0)
        all_loss, hits, misses = total_over_processes(self.accelerator, summed, *counted)
        row = {"loss": all_loss / all_tokens, "learning_rate": learning_rate, "grad_norm": norm, **heard}
        if self.cache is not None:
            self.state.cache_hits += int(hits)
            self.state.cache_misses += int(misses)
            row["encoder_cache_hit_share"] = hits / (hits + misses)
        return row

    def _count_skipped(self, reasons: list[str]) -> None:
        """Count the rows that any process left out, on all of them."""
        everywhere = gather_object(reasons) if self.world_size > 1 else reasons
        self.state.skipped = dict(Counter(self.state.skipped) + Counter(everywhere))

    def _loss(self, batch: Batch) -> torch.Tensor:
        def here(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(self.whisper.device, non_blocking=True)

        loss: torch.Tensor = self.loss(
            here(batch.samples),
            batch.sample_counts,
            batch.frames,
            batch.token_counts,
            here(batch.decoder_input_ids),
            here(batch.labels),
            batch.keep if batch.keep is None else here(batch.keep),
            batch.recordings,
        )
        return loss

    def _synchronised(self, *, last: bool) -> contextlib.AbstractContextManager[Any]:
        if last or self.world_size == 1:
            return contextlib.nullcontext()
        quiet: contextlib.AbstractContextManager[Any] = self.accelerator.no_sync(self.loss)
        return quiet

    def _seed_dropout(self, micro_batch: int) -> None:
        place = [self.recipe.train.seed, self.state.step, micro_batch, self.accelerator.process_index]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> 1))

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
        return "callback" if self._tell("step", {**row, **measured}) else None

    def _guard(self, row: dict[str, float]) -> None:
        if math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]):
            self._refused_in_a_row = 0
            return
        self.state.refused_updates += 1
        self._refused_in_a_row += 1
        if self._refused_in_a_row < MOST_REFUSED_IN_A_ROW:
            return
        if not row["target_tokens"]:
            counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(self.state.skipped.items()))
            raise DataError(
                f"no recording of the last {MOST_REFUSED_IN_A_ROW} steps can be used",
                f"left out so far: {counts}",
                "mend the recordings of data.train",
            )
        raise TrainingError(
            f"the loss has not been finite for {MOST_REFUSED_IN_A_ROW} steps (step {self.state.step})",
            "the run has diverged",
            f"lower train.learning_rate ({self.recipe.train.learning_rate:g}) and resume or start again",
        )

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
            self._save_best()
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

    def _save_best(self) -> None:
        def save() -> None:
            folder, model = self.folder / BEST, self.whisper.model
            save_checkpoint(folder, state=self.state, model=model, optimizer_state={}, keep=None)

        on_main_process(self.accelerator, save)

    def _restore_best(self) -> None:
        """Put back the weights with the lowest WER, where evaluations chose any."""
        if self.state.best_step is not None and self.state.best_step != self.state.step:
            _, weights, _ = read_checkpoint(self.folder / BEST / f"step-{self.state.best_step:06d}")
            restore_weights(self.whisper.model, weights)

    def _checkpoint(self) -> None:
        def save() -> None:
            folder = self.folder / CHECKPOINTS
            path = save_checkpoint(
                folder,
                state=self.state,
                model=self.whisper.model,
                optimizer_state=self.optimization.state_dict(),
                keep=self.recipe.train.keep_checkpoints,
            )
            keep_referred(self.folder / BEST, folder)
            self._tell("checkpoint", {"path": str(path)})

        on_main_process(self.accelerator, save)

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
        )
        steps = self.plan.steps(epoch=self.state.epoch, skip=self.state.step_in_epoch)
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
