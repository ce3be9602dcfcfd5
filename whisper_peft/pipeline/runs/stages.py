"""A run of finetune(), stage by stage; its report grows with each."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from whisper_peft.deploy.merging import merge_adapter
from whisper_peft.errors import DataError, MergeError, StorageError
from whisper_peft.evaluation.generation import check_language
from whisper_peft.measuring import StageClock, peak_memory_bytes
from whisper_peft.model.adapters.attaching import (
    attach_adapter,
    check_adapter,
    enable_gradient_checkpointing,
    save_adapter,
)
from whisper_peft.model.adapters.scales import scale_update
from whisper_peft.model.checkpoints.companions import save_companions
from whisper_peft.model.library_noise import no_loading_bar
from whisper_peft.model.loading import Whisper, load_whisper
from whisper_peft.pipeline.context_choice import figures_of, write_figures
from whisper_peft.pipeline.corpora.nearest_language import settle_language
from whisper_peft.pipeline.health.health_check import HealthCheck
from whisper_peft.pipeline.runs.error_breakdown import write_scored
from whisper_peft.pipeline.runs.expectation import expect
from whisper_peft.pipeline.runs.first_look import looked_over
from whisper_peft.pipeline.runs.learning_media import learning_media
from whisper_peft.pipeline.runs.page_recordings import page_recordings
from whisper_peft.pipeline.runs.restoring import restore_rows
from whisper_peft.pipeline.runs.run import Run
from whisper_peft.pipeline.runs.run_folder import (
    ADAPTER,
    MERGED,
    MODEL,
    RECIPE_FILE,
    keep_corrections,
    where_it_stands,
    write_predictions,
)
from whisper_peft.pipeline.runs.run_scores import RunScores
from whisper_peft.pipeline.runs.run_views import write_views
from whisper_peft.pipeline.runs.speech import (
    Speech,
    TrainingRows,
    clips_to_compare,
    open_speech,
)
from whisper_peft.pipeline.runs.stored_scores import (
    StoredScores,
    difference_interval,
    read_scores,
    source_difference_intervals,
)
from whisper_peft.pipeline.runs.training_seen import training_seen
from whisper_peft.recipe.adapter_names import adapter_name
from whisper_peft.recipe.learning_rates import rate_sentence
from whisper_peft.recipe.sections import Recipe
from whisper_peft.recipe.yaml_files import write_recipe
from whisper_peft.reporting.console.progress import SteadyConsole
from whisper_peft.reporting.console.training_progress import TrainingProgress
from whisper_peft.reporting.figures import reasons
from whisper_peft.reporting.run_report import (
    AdapterRecord,
    CostRecord,
    EvaluationRecord,
    RunRecord,
    RunReport,
    environment_meta,
    write_report,
)
from whisper_peft.training.events import Callback, Event
from whisper_peft.training.interruption import sigterm_as_ctrl_c
from whisper_peft.training.logs import JsonLog, TensorBoardLog
from whisper_peft.training.loop import Training
from whisper_peft.training.processes import on_main_process
from whisper_peft.training.run_checkpoints import checkpoint_to_resume
from whisper_peft.training.trackers import open_trackers
from whisper_peft.types import EvalResult, MergeResult, TrainResult


@dataclass
class Finetuning:
    """One run, stage by stage; the report grows with each and is written after each."""

    recipe: Recipe
    folder: Path
    accelerator: Accelerator
    resume: bool
    callbacks: tuple[Callback, ...]

    def __post_init__(self) -> None:
        self.is_main = self.accelerator.is_main_process
        self.started = time.monotonic()
        self.console = SteadyConsole(quiet=not self.is_main)
        self.clock = StageClock()
        self.trackers: tuple[Callback, ...] = ()
        record = RunRecord(
            name=self.recipe.name,
            folder=str(self.folder),
            command=" ".join(sys.argv),
            started_at=datetime.now().astimezone().isoformat(timespec="seconds"),
        )
        stored = on_main_process(self.accelerator, lambda: read_scores(self.folder))
        self.stored = stored if self.resume else StoredScores()
        self.report = RunReport(run=record, meta=environment_meta(self.recipe.train.seed))

    def run(self) -> Run:
        """Do the work; outside the loop, Ctrl-C and SIGTERM end it at once with where it stands."""
        try:
            with sigterm_as_ctrl_c():
                return self._stages()
        except KeyboardInterrupt:
            trained = self.report.train is not None
            raise KeyboardInterrupt(where_it_stands(self.folder, trained=trained)) from None

    def _stages(self) -> Run:
        recipe = self.recipe
        with self.clock("load"):
            speech, whisper, rows = self._load()
        rows = restore_rows(
            rows, whisper, self.recipe, self.folder, self.accelerator, self.console, self.clock
        )
        before = self._score_before(whisper, speech, rows)
        learning = attach_adapter(whisper, recipe.adapter, seed=recipe.train.seed).sentence()
        self.say(learning)
        self._note(adapter=AdapterRecord(method=adapter_name(recipe.adapter), trainable=learning))
        with self.clock("train"):
            trained = self._train(whisper, speech, rows)
            if (scaling := scale_update(whisper, recipe.adapter)) is not None:
                self.say(scaling)
            self._save(whisper)
        if trained.stopped_by != "interrupt":
            after = self._scores(speech).all(whisper, "after")
            self._note_after(before, after, speech, rows)
            self._score_short(whisper, speech)
            del whisper
            self.accelerator.free_memory()
            self._merge(speech)
            self._check_health()
        return self._finish()

    def _load(self) -> tuple[Speech, Whisper, TrainingRows]:
        speech = open_speech(self.recipe)
        rate = rate_sentence(self.recipe)
        for sentence in (*speech.sentences(), *([rate] if rate else [])):
            self.say(sentence)
        forecast = on_main_process(self.accelerator, lambda: expect(self.recipe, speech, self.say))
        # written with what comes next: a mistake that is found before leaves no folder
        self.report = self.report.model_copy(update={"forecast": forecast})
        whisper = load_whisper(self.recipe.model, device=self._device())
        for sentence in (
            whisper.checkpoint.sentence,
            *whisper.companions.sentences,
            whisper.precision.reason,
        ):
            self.say(sentence)
        told = settle_language(self.recipe.model.language, speech.train, whisper)
        if told.sentence is not None:
            self.say(told.sentence)
        speech = speech.telling(told)
        self.recipe = speech.recipe
        return speech, whisper, self._check(speech, whisper)

    def _device(self) -> torch.device | None:
        return self.accelerator.device if self.accelerator.num_processes > 1 else None

    def _check(self, speech: Speech, whisper: Whisper) -> TrainingRows:
        if self.recipe.model.language is not None:
            check_language(whisper, self.recipe.model.language)
        check_adapter(whisper, self.recipe.adapter)
        rows, notable = looked_over(speech.check(whisper), speech.eval)
        for sentence in (*rows.sentences(), *notable):
            self.say(sentence)
        if self.is_main:
            write_recipe(speech.resolved_recipe(), self.folder / RECIPE_FILE)
            keep_corrections(self.recipe.data.corrections, self.folder)
            self.trackers = open_trackers(self.recipe, self.folder)
        gpu = torch.cuda.get_device_name() if whisper.device.type == "cuda" else None
        self._note(data=rows.record, meta=environment_meta(self.recipe.train.seed, gpu=gpu))
        return rows

    def _scores(self, speech: Speech) -> RunScores:
        return RunScores(speech, self.accelerator, self.console, self.clock)

    def _score_before(self, whisper: Whisper, speech: Speech, rows: TrainingRows) -> EvalResult | None:
        if not self.recipe.eval.before:
            return None
        before = self._scores(speech).all(whisper, "before", self.stored.before)
        record = EvaluationRecord(before=before, scored_split=speech.eval.split)
        self._note_scores(record, rows)
        return before

    def _score_short(self, whisper: Whisper, speech: Speech) -> None:
        """Score the tuned model at cut context too, where it was tuned on that."""
        recipe, evaluation = self.recipe, self.report.evaluation
        tuned_on_it = recipe.train.audio_context != "full" and recipe.eval.audio_context == "full"
        if evaluation is None or not (tuned_on_it and recipe.eval.short_context):
            return
        short = self.stored.after_short or self._scores(speech).at_cut_context(whisper)
        scored = evaluation.model_copy(update={"after_short": short})
        if self.is_main:
            write_predictions(self.folder, scored)
        self._note(evaluation=scored)

    def _train(self, whisper: Whisper, speech: Speech, rows: TrainingRows) -> TrainResult:
        if self.recipe.train.gradient_checkpointing:
            enable_gradient_checkpointing(whisper)
        training = Training(
            whisper,
            self.recipe,
            rows.learned(self.recipe.train.seed),
            rows.collator,
            self.accelerator,
            self.folder,
            evaluate=lambda: self._scores(speech).so_far(whisper, training.interruption.check),
        )
        if training.cache_sentence is not None:
            self.say(training.cache_sentence)
        resume_from = self._resume_from()
        self.say(f"resuming from {resume_from}" if resume_from else f"training {training.total_steps} steps")
        with TrainingProgress(training.total_steps, console=self.console) as progress:
            training.callbacks = (*self.callbacks, *self._listeners(progress, speech, rows))
            trained = training.run(resume_from)
        skipped = Counter(rows.stream_skipped) + Counter(trained.skipped)
        if not trained.audio_seconds and trained.stopped_by != "interrupt":
            raise DataError(
                f"no recording of {speech.train.name} could be used in {trained.steps} steps",
                f"left out: {reasons(skipped)}",
                "mend the recordings of data.train",
            )
        self._note(train=replace(trained, skipped=dict(skipped)))
        return trained

    def _resume_from(self) -> Path | None:
        """Return the checkpoint to go on from, and say which were damaged."""
        if not self.resume:
            return None
        found, sentences = on_main_process(self.accelerator, lambda: checkpoint_to_resume(self.folder))
        for sentence in sentences:
            self.say(sentence)
        return found

    def _listeners(
        self, progress: TrainingProgress, speech: Speech, rows: TrainingRows
    ) -> tuple[Callback, ...]:
        if not self.is_main:
            return ()

        def show(event: Event) -> None:
            progress.update({"step": event.step, **event.row})

        logs: tuple[Callback, ...] = (JsonLog(self.folder), show, *self.trackers)
        if not self.recipe.train.tensorboard:
            return logs
        before = self.report.evaluation.before if self.report.evaluation else None
        media = learning_media(speech, rows.collator, self.folder, before)
        return (*logs, TensorBoardLog(self.folder, media=media))

    def _save(self, whisper: Whisper) -> None:
        if not self.is_main:
            return
        if self.recipe.adapter.method == "full":
            with no_loading_bar():
                whisper.core.save_pretrained(self.folder / MODEL)
            save_companions(whisper.companions, self.folder / MODEL)
        else:
            save_adapter(whisper, self.folder / ADAPTER)

    def _note_after(
        self, before: EvalResult | None, after: EvalResult, speech: Speech, rows: TrainingRows
    ) -> None:
        chosen, samples = self.recipe.eval.steps is not None, self.recipe.eval.bootstrap_samples
        record = EvaluationRecord(
            before=before,
            after=after,
            difference_interval=difference_interval(before, after, samples),
            source_difference_intervals=source_difference_intervals(before, after, samples),
            scored_split=speech.eval.split,
            selected_split=speech.dev.split if chosen else None,
        )
        self._note_scores(record, rows)

    def _note_scores(self, record: EvaluationRecord, rows: TrainingRows) -> None:
        if self.is_main:
            record = write_scored(self.folder, record, rows, self.recipe.eval.bootstrap_samples)
        self._note(evaluation=record)

    def _merge(self, speech: Speech) -> None:
        section = self.recipe.merge
        if not section.enabled or self.recipe.adapter.method == "full":
            return

        def fold() -> MergeResult:
            if self.resume:  # what a run that was stopped later than this left is made anew
                shutil.rmtree(self.folder / MERGED, ignore_errors=True)
            return merge_adapter(
                self.folder,
                self.recipe.model,
                clips=clips_to_compare(speech.eval, section.clips),
                output_dir=self.folder / MERGED,
                how=section,
            )

        self.say("merging, and comparing with the adapter model")
        try:
            with self.clock("merge"):
                merged = on_main_process(self.accelerator, fold)
        except (MergeError, StorageError):
            self._finish()
            raise
        if self.is_main:
            write_figures(figures_of(self.report.evaluation), self.folder / MERGED)
        self._note(merge=merged)

    def _check_health(self) -> None:
        level = self.recipe.eval.health
        if level == "off":
            return
        work = HealthCheck(self.folder, self.recipe, self.report, level, self.say)
        with self.clock("health"):
            measured = on_main_process(self.accelerator, work.run)
        self._note(health=measured)

    def _finish(self) -> Run:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        finished = {"finished_at": now, "seconds": round(time.monotonic() - self.started, 3)}
        cost = CostRecord(peak_memory_bytes=peak_memory_bytes(), stages=self.clock.costs)
        self._note(run=self.report.run.model_copy(update=finished), cost=cost)
        if self.is_main:
            seen = training_seen(self.folder, self.recipe, self.report)
            self._note(**seen.blocks)
            write_views(self.folder, page_recordings(self.folder, self.recipe.data), seen.sounds)
        return Run(self.folder, self.report.to_dict())

    def _note(self, **blocks: Any) -> None:
        """Put finished blocks in the report and write it."""
        self.report = self.report.model_copy(update=blocks)
        if self.is_main:
            write_report(self.report, self.folder)

    def say(self, sentence: str) -> None:
        """Print a sentence, on the main process alone."""
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)
