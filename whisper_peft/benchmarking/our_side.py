"""Our side of a comparison, in a process of its own: the loop and the evaluator that every run uses.

python -m whisper_peft.benchmarking.our_side TASK.json RESULT.json
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from whisper_peft.benchmarking.sides import Row, SideRun, SideTask, SideTranscripts, write_result
from whisper_peft.data.batches.loader import choose_workers
from whisper_peft.evaluation.evaluator import evaluate_utterances
from whisper_peft.measuring import PeakMemory, Stopwatch, peak_memory_bytes
from whisper_peft.model.adapters.attaching import attach_adapter, enable_gradient_checkpointing, save_adapter
from whisper_peft.model.loading import Whisper, load_run_or_model, load_whisper
from whisper_peft.pipeline.runs.speech import open_speech
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import Recipe
from whisper_peft.recipe.yaml_files import read_recipe
from whisper_peft.training.events import Event
from whisper_peft.training.loop import Training
from whisper_peft.training.processes import start_processes
from whisper_peft.types import Utterance

NEVER = 10**9
"""Steps between checkpoints: none falls inside the timing."""


@dataclass
class Clock:
    """Listen to the loop: time from the start of the first epoch to the end of the last step."""

    memory: PeakMemory = field(default_factory=PeakMemory)
    started: float = 0.0
    ended: float = 0.0
    memory_peak_bytes: int = 0
    data_wait_seconds: float = 0.0
    target_tokens: int = 0
    step_seconds: list[float] = field(default_factory=list)
    step_audio_seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Take the time of an event."""
        if event.kind == "start":
            self.memory.__enter__()
            self.started = self.ended = time.perf_counter()
        if event.kind == "step":
            now = time.perf_counter()
            seconds, self.ended = now - self.ended, now
            self.step_seconds.append(seconds)
            self.step_audio_seconds.append(event.row["audio_seconds"])
            self.data_wait_seconds += event.row["data_wait_share"] * seconds
            self.target_tokens += int(event.row["target_tokens"])
            self.losses.append(event.row["loss"])
            self.memory_peak_bytes = self.memory.so_far()
        if event.kind == "end":  # after the last checkpoint, whose memory does not count
            self.memory.__exit__(None, None, None)


def train(task: SideTask) -> SideRun:
    """Fine-tune on the rows and save the adapter."""
    recipe = task_recipe(task)
    accelerator = start_processes(recipe.model.device)
    whisper = load_whisper(recipe.model)
    attach_adapter(whisper, recipe.adapter, seed=recipe.train.seed)
    if recipe.train.gradient_checkpointing:
        enable_gradient_checkpointing(whisper)
    rows = open_speech(recipe).check(whisper)
    clock = Clock()
    training = Training(
        whisper,
        recipe,
        rows.utterances,
        rows.collator,
        accelerator,
        Path(task.output_dir),
        callbacks=(clock,),
    )
    trained = training.run()
    adapter = Path(task.output_dir) / "adapter"
    save_adapter(whisper, adapter)
    return SideRun(
        utterances=task.learning.epochs * len(task.rows) - sum(trained.skipped.values()),
        epochs=task.learning.epochs,
        audio_seconds=sum(clock.step_audio_seconds),
        target_tokens=clock.target_tokens,
        prefix_tokens=0,
        wall_seconds=clock.ended - clock.started,
        step_seconds=tuple(clock.step_seconds),
        step_audio_seconds=tuple(clock.step_audio_seconds),
        data_wait_seconds=clock.data_wait_seconds,
        memory_before_bytes=clock.memory.before_bytes,
        memory_peak_bytes=clock.memory_peak_bytes,
        lifetime_peak_bytes=peak_memory_bytes(),
        losses=tuple(clock.losses),
        workers=choose_workers(recipe.train.workers),
        adapter=str(adapter),
    )


def task_recipe(task: SideTask) -> Recipe:
    """Return our recipe on the task's rows, with nothing but training."""
    rows = [utterance(row) for row in task.rows]
    data = {"source": {"train": rows, "eval": rows}, "train": "train", "eval": "eval", "text_case": "as-is"}
    quiet = {"checkpoint_steps": NEVER, "tensorboard": False}
    changes = {"data": data, "train": {**quiet, "epochs": float(task.learning.epochs)}}
    return apply_overrides(read_recipe(Path(task.recipe)), changes)


def utterance(row: Row) -> Utterance:
    """Return a task's row as the data room has it."""
    return Utterance(
        row.id,
        Path(row.path),
        row.text.strip(),
        language=row.language,
        task=row.task,
        duration_s=row.duration_s,
    )


def transcribe(task: SideTask) -> SideTranscripts:
    """Transcribe the rows as `whisper-peft evaluate` does."""
    recipe = task_recipe(task)
    whisper = _listener(task, recipe)
    section = recipe.eval.model_copy(
        update={
            "batch_size": task.batch_size,
            "num_beams": task.num_beams,
            "audio_context": task.audio_context,
            "max_utterances": None,
        }
    )
    watch = Stopwatch()
    with PeakMemory() as memory, watch:
        scored = evaluate_utterances(
            whisper,
            [replace(utterance(row), id=str(number)) for number, row in enumerate(task.rows)],
            section=section,
            language=recipe.model.language,
            task=recipe.model.task,
        )
    by_id = {prediction.id: prediction.hypothesis for prediction in scored.predictions}
    return SideTranscripts(
        hypotheses=tuple(by_id.get(str(number), "") for number in range(len(task.rows))),
        audio_seconds=sum(row.duration_s for row in task.rows),
        wall_seconds=watch.seconds,
        memory_before_bytes=memory.before_bytes,
        memory_peak_bytes=memory.peak_bytes,
        lifetime_peak_bytes=peak_memory_bytes(),
    )


def _listener(task: SideTask, recipe: Recipe) -> Whisper:
    if task.adapter is None:
        return load_whisper(recipe.model)
    return load_run_or_model(task.adapter, recipe.model)


def main(task_file: str, result_file: str) -> None:
    """Do a task from a file, and write the result to another."""
    task = SideTask.read(Path(task_file))
    write_result(train(task) if task.what == "train" else transcribe(task), Path(result_file))


if __name__ == "__main__":
    main(*sys.argv[1:])
