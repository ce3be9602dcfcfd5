"""What one side of a comparison is given, and what it hands back: JSON files between processes.

Both sides use this module and `whisper_peft.measuring`, and share no other code. It imports nothing heavy, so
that neither side's memory holds what only the other needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Row:
    """One recording, and its text as the tokenizer gets it: in the corpus' case, with its leading space."""

    id: str
    path: str
    text: str
    duration_s: float
    language: str | None = None
    task: str = "transcribe"


@dataclass(frozen=True, slots=True)
class Lora:
    """The adapter, with the names of `peft.LoraConfig`."""

    r: int
    lora_alpha: float
    lora_dropout: float
    target_modules: tuple[str, ...] | str
    use_rslora: bool
    use_dora: bool


@dataclass(frozen=True, slots=True)
class Learning:
    """How to learn, with the names of `transformers.Seq2SeqTrainingArguments` where they differ from ours."""

    batch_size: int
    gradient_accumulation_steps: int
    epochs: int
    learning_rate: float
    lr_scheduler_type: str
    warmup_steps: int
    weight_decay: float
    max_grad_norm: float
    adam_epsilon: float
    gradient_checkpointing: bool
    workers: int
    seed: int


@dataclass(frozen=True, slots=True)
class SideTask:
    """Everything that one process needs.

    Attributes:
        what: Train on the rows, or transcribe them.
        model: Folder of the base model, in Hugging Face's format.
        adapter: Folder of an adapter to transcribe with; None for the untuned model.
        recipe: Our recipe as YAML, for our side; the reference reads the other fields.
        output_dir: Where the adapter goes.
    """

    what: Literal["train", "evaluate"]
    model: str
    rows: tuple[Row, ...]
    precision: Literal["fp32", "bf16", "fp16"]
    device: str
    lora: Lora
    learning: Learning
    recipe: str
    output_dir: str
    adapter: str | None = None
    batch_size: int = 16
    num_beams: int = 1
    audio_context: Literal["full", "cut"] = "full"

    def write(self, path: Path) -> Path:
        """Write the task for another process."""
        path.write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> SideTask:
        """Return the task that `write` has written."""
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        fields["rows"] = tuple(Row(**row) for row in fields["rows"])
        targets = fields["lora"]["target_modules"]
        fields["lora"]["target_modules"] = targets if isinstance(targets, str) else tuple(targets)
        return cls(**{**fields, "lora": Lora(**fields["lora"]), "learning": Learning(**fields["learning"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What work on speech cost.

    Attributes:
        audio_seconds: The speech, unpadded.
        wall_seconds: What it took, data included; loading the model and saving the adapter excluded.
        memory_before_bytes: Resident before the first step or batch (on CUDA: allocated).
        memory_peak_bytes: Most resident during the work, sampled (on CUDA: allocated).
        lifetime_peak_bytes: The kernel's own peak, model loading included.
    """

    audio_seconds: float
    wall_seconds: float
    memory_before_bytes: int
    memory_peak_bytes: int
    lifetime_peak_bytes: int

    @property
    def audio_seconds_per_second(self) -> float:
        """Unpadded speech that went through in a second."""
        return self.audio_seconds / self.wall_seconds

    @property
    def memory_bytes(self) -> int:
        """Peak above what was resident before."""
        return self.memory_peak_bytes - self.memory_before_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form, with what follows from the fields."""
        derived = {
            "audio_seconds_per_second": self.audio_seconds_per_second,
            "memory_bytes": self.memory_bytes,
        }
        return {**asdict(self), **derived}


@dataclass(frozen=True, slots=True, kw_only=True)
class SideRun(Measured):
    """What training did on one side, measured there, from its first epoch to its last step.

    Attributes:
        utterances: Rows that went through the model, over all epochs.
        epochs: How often each row did.
        target_tokens: Text tokens and ends of text that were scored.
        prefix_tokens: Tokens before the text that were scored too: the public recipe scores language, task
            and no-timestamps, ours masks them.
        step_seconds: Of each optimiser step, data included.
        step_audio_seconds: Unpadded speech in each step.
        data_wait_seconds: Time that steps waited for their batches.
        losses: Mean of each step, in nats.
        workers: Processes that read ahead.
        adapter: Folder of what was learned, in PEFT's format.
    """

    utterances: int
    epochs: int
    target_tokens: int
    prefix_tokens: int
    step_seconds: tuple[float, ...]
    step_audio_seconds: tuple[float, ...]
    data_wait_seconds: float
    losses: tuple[float, ...]
    workers: int
    adapter: str

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return len(self.step_seconds)

    @property
    def rows_per_step(self) -> float:
        """Mean utterances of an optimiser step."""
        return self.utterances / self.steps

    @property
    def last_epoch_audio_seconds_per_second(self) -> float:
        """The same of the last epoch alone: what is kept from earlier ones makes it faster."""
        last = slice(-(self.steps // self.epochs), None)
        return sum(self.step_audio_seconds[last]) / sum(self.step_seconds[last])

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form, with what follows from the fields."""
        last = self.last_epoch_audio_seconds_per_second
        derived = {"steps": self.steps, "rows_per_step": self.rows_per_step}
        # not super(): slots make another class of this one
        return {**Measured.to_dict(self), **derived, "last_epoch_audio_seconds_per_second": last}


@dataclass(frozen=True, slots=True, kw_only=True)
class SideTranscripts(Measured):
    """The transcripts of one side in the rows' order, and what they cost, decoding of audio included."""

    hypotheses: tuple[str, ...]


def write_result(result: SideRun | SideTranscripts, path: Path) -> None:
    """Write what a side hands back."""
    path.write_text(json.dumps(asdict(result), ensure_ascii=False), encoding="utf-8")


def read_run(path: Path) -> SideRun:
    """Return the training result that a side has written."""
    return SideRun(**_with_tuples(json.loads(path.read_text(encoding="utf-8"))))


def read_transcripts(path: Path) -> SideTranscripts:
    """Return the transcripts that a side has written."""
    return SideTranscripts(**_with_tuples(json.loads(path.read_text(encoding="utf-8"))))


def _with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
