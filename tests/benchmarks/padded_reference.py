"""Fine-tune Whisper with LoRA as people do today: every clip padded to 30 s, in transformers' Seq2SeqTrainer.

    python tests/benchmarks/padded_reference.py TASK.json RESULT.json

Written from PEFT's and transformers' public recipes for Whisper: the feature extractor's window of 30 s,
labels padded with -100 and their leading start token dropped, `get_peft_model`, `Seq2SeqTrainer`. It is their
best honest version: SDPA, fused AdamW, no cache while training, no evaluation, saving or logging inside the
timing, features computed in the data loader's workers where there are any. `whisper-peft benchmark` runs it
in a process of its own; of whisper_peft it uses only the clocks and the form of task and result.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.utils.data import Dataset
from transformers import (
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    set_seed,
)

from whisper_peft.benchmarking.sides import Row, SideRun, SideTask, SideTranscripts, write_result
from whisper_peft.measuring import PeakMemory, Stopwatch, peak_memory_bytes

SAMPLING_RATE = 16_000
IGNORED = -100
TORCH_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def read_audio(path: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a recording as mono samples at 16 kHz."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    return mono if rate == SAMPLING_RATE else librosa.resample(mono, orig_sr=rate, target_sr=SAMPLING_RATE)


@dataclass
class Preparation:
    """From a row to features of 30 s and labels, as the `prepare_dataset` of the public recipes."""

    processor: WhisperProcessor

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the model's inputs of one row."""
        extracted = self.processor.feature_extractor(read_audio(row["path"]), sampling_rate=SAMPLING_RATE)
        if row["language"] is not None:
            self.processor.tokenizer.set_prefix_tokens(language=row["language"], task=row["task"])
        labels = self.processor.tokenizer(row["text"]).input_ids
        seconds = row["duration_s"]
        return {"input_features": extracted.input_features[0], "labels": labels, "audio_seconds": seconds}


@dataclass
class RowsAsRead(Dataset[dict[str, Any]]):
    """Rows whose features are computed when they are read, in the data loader's workers if there are any.

    `Dataset.map` before training costs about four times as much as one epoch of this: it writes a megabyte of
    features for each row (tiny.en, 10 ms a clip to compute, 38 ms to compute and store).
    """

    rows: Sequence[dict[str, Any]]
    prepare: Preparation

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.prepare(self.rows[index])


@dataclass
class PaddingCollator:
    """The collator of the public recipes: labels padded with -100, their leading start token dropped."""

    processor: WhisperProcessor
    decoder_start_token_id: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return a batch; `audio_seconds` is for the counts and goes no further."""
        features = [{"input_features": row["input_features"]} for row in rows]
        batch = self.processor.feature_extractor.pad(features, return_tensors="pt")
        labels = self.processor.tokenizer.pad(
            [{"input_ids": row["labels"]} for row in rows], return_tensors="pt"
        )
        ids = labels["input_ids"].masked_fill(labels["attention_mask"].ne(1), IGNORED)
        starts_alike = bool((ids[:, 0] == self.decoder_start_token_id).all())
        batch["labels"] = ids[:, 1:] if starts_alike else ids
        batch["audio_seconds"] = sum(row["audio_seconds"] for row in rows)
        return dict(batch)


@dataclass
class Counts:
    """What has gone through the model so far."""

    utterances: int = 0
    scored_tokens: int = 0
    step_seconds: list[float] = field(default_factory=list)
    step_audio_seconds: list[float] = field(default_factory=list)
    losses: list[torch.Tensor] = field(default_factory=list)
    waiting: Stopwatch = field(default_factory=Stopwatch)


class CountingTrainer(Seq2SeqTrainer):
    """The trainer as it is; it counts what it is given and how long it waits for it."""

    counts: Counts

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        """Return the batches of one optimiser step."""
        with self.counts.waiting:
            batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.counts.step_audio_seconds.append(sum(batch.pop("audio_seconds") for batch in batches))
        for batch in batches:
            self.counts.utterances += len(batch["labels"])
            self.counts.scored_tokens += int((batch["labels"] != IGNORED).sum())
        return batches, items

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the loss of one micro-batch."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        self.counts.losses.append(loss)
        return loss


@dataclass
class Clock(TrainerCallback):
    """Time from the start of the first epoch to the end of the last step."""

    counts: Counts
    memory: PeakMemory = field(default_factory=PeakMemory)
    started: float = 0.0
    ended: float = 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start."""
        self.memory.__enter__()
        self.started = self.ended = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Take the time of a step."""
        now = time.perf_counter()
        self.counts.step_seconds.append(now - self.ended)
        self.ended = now

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop watching the memory."""
        self.memory.__exit__(None, None, None)


def training_arguments(task: SideTask) -> Seq2SeqTrainingArguments:
    """Return the same settings as ours in transformers' words, with everything idle switched off."""
    learning = task.learning
    return Seq2SeqTrainingArguments(
        output_dir=task.output_dir,
        per_device_train_batch_size=learning.batch_size,
        gradient_accumulation_steps=learning.gradient_accumulation_steps,
        num_train_epochs=learning.epochs,
        learning_rate=learning.learning_rate,
        lr_scheduler_type=learning.lr_scheduler_type,
        warmup_steps=learning.warmup_steps,
        weight_decay=learning.weight_decay,
        max_grad_norm=learning.max_grad_norm,
        adam_epsilon=learning.adam_epsilon,
        activation_checkpointing=learning.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if learning.gradient_checkpointing else None,
        bf16=task.precision == "bf16",
        fp16=task.precision == "fp16",
        use_cpu=task.device == "cpu",
        seed=learning.seed,
        dataloader_num_workers=learning.workers,
        dataloader_persistent_workers=learning.workers > 0,
        dataloader_pin_memory=task.device == "cuda",
        remove_unused_columns=False,
        label_names=["labels"],
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def adapted_model(task: SideTask) -> PeftModel:
    """Return the model with a fresh adapter, drawn from the seed as on our side."""
    model = WhisperForConditionalGeneration.from_pretrained(task.model, attn_implementation="sdpa")
    model.config.use_cache = False
    # Whisper's forward takes any keyword, so the trainer believes that its loss divides by the tokens of all
    # micro-batches; it does not, and gradients would be as many times too large (transformers 5.23)
    model.accepts_loss_kwargs = False  # type: ignore[assignment]  # the trainer looks for it on the model
    targets = task.lora.target_modules
    config = LoraConfig(
        r=task.lora.r,
        lora_alpha=task.lora.lora_alpha,  # type: ignore[arg-type]  # PEFT only multiplies by it
        lora_dropout=task.lora.lora_dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_rslora=task.lora.use_rslora,
        use_dora=task.lora.use_dora,
        bias="none",
    )
    set_seed(task.learning.seed)
    adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)
    return adapted


def train(task: SideTask) -> SideRun:
    """Fine-tune on the rows and save the adapter."""
    processor = WhisperProcessor.from_pretrained(task.model)
    model = adapted_model(task)
    rows = [_fields(row) for row in task.rows]
    counts = Counts()
    clock = Clock(counts)
    trainer = CountingTrainer(
        model=model,
        args=training_arguments(task),
        train_dataset=RowsAsRead(rows, Preparation(processor)),
        data_collator=PaddingCollator(processor, model.config.decoder_start_token_id),
        callbacks=[clock],
    )
    trainer.counts = counts
    trainer.train()
    model.save_pretrained(str(Path(task.output_dir) / "adapter"))
    # language, task and no-timestamps; English-only checkpoints have the last alone
    prefix_tokens = counts.utterances * (3 if rows[0]["language"] else 1)
    return SideRun(
        utterances=counts.utterances,
        audio_seconds=sum(counts.step_audio_seconds),
        target_tokens=counts.scored_tokens - prefix_tokens,
        prefix_tokens=prefix_tokens,
        epochs=task.learning.epochs,
        wall_seconds=clock.ended - clock.started,
        step_seconds=tuple(counts.step_seconds),
        step_audio_seconds=tuple(counts.step_audio_seconds),
        data_wait_seconds=counts.waiting.seconds,
        memory_before_bytes=clock.memory.before_bytes,
        memory_peak_bytes=clock.memory.peak_bytes,
        lifetime_peak_bytes=peak_memory_bytes(),
        losses=_step_losses(counts, trainer.args.gradient_accumulation_steps),
        workers=task.learning.workers,
        adapter=str(Path(task.output_dir) / "adapter"),
    )


def _fields(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("path", "text", "language", "task", "duration_s")}


def _step_losses(counts: Counts, micro_batches: int) -> tuple[float, ...]:
    """Return the loss of each optimiser step; the trainer has divided those of its micro-batches already."""
    losses = [float(loss) for loss in counts.losses]
    return tuple(sum(losses[first : first + micro_batches]) for first in range(0, len(losses), micro_batches))


@torch.no_grad()
def transcribe(task: SideTask) -> SideTranscripts:
    """Transcribe the rows in their order, in batches of 30 s windows, with transformers' `generate`."""
    processor = WhisperProcessor.from_pretrained(task.model)
    dtype = TORCH_TYPES[task.precision]
    model: Any = WhisperForConditionalGeneration.from_pretrained(
        task.model, attn_implementation="sdpa", dtype=dtype
    )
    if task.adapter is not None:
        model = PeftModel.from_pretrained(model, task.adapter)
    model = model.to(task.device).eval()
    hypotheses: list[str] = []
    watch = Stopwatch()
    with PeakMemory() as memory, watch:
        for first in range(0, len(task.rows), task.batch_size):
            rows = task.rows[first : first + task.batch_size]
            extracted = processor.feature_extractor(
                [read_audio(row.path) for row in rows],
                sampling_rate=SAMPLING_RATE,
                return_attention_mask=True,
                return_tensors="pt",
            )
            languages = [row.language for row in rows]
            told = {"language": languages, "task": rows[0].task} if rows[0].language else {}
            tokens = model.generate(
                input_features=extracted.input_features.to(task.device, dtype),
                attention_mask=extracted.attention_mask.to(task.device),
                num_beams=task.num_beams,
                **told,
            )
            hypotheses += processor.batch_decode(tokens, skip_special_tokens=True)
    return SideTranscripts(
        hypotheses=tuple(hypotheses),
        audio_seconds=sum(row.duration_s for row in task.rows),
        wall_seconds=watch.seconds,
        memory_before_bytes=memory.before_bytes,
        memory_peak_bytes=memory.peak_bytes,
        lifetime_peak_bytes=peak_memory_bytes(),
    )


def main(task_file: str, result_file: str) -> None:
    """Do a task from a file, and write the result to another."""
    task = SideTask.read(Path(task_file))
    write_result(train(task) if task.what == "train" else transcribe(task), Path(result_file))


if __name__ == "__main__":
    main(*sys.argv[1:])
