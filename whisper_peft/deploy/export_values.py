"""What an export is made of: its formats, each with a writer, a reader and a runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from whisper_peft.model.loading import Whisper
from whisper_peft.types import Utterance

Writer: TypeAlias = Callable[[Whisper, Path, str], None]
"""Writes a whole model in float, without adapter, into an empty folder in a quantisation."""

Reader: TypeAlias = Callable[[Path], Mapping[str, Tensor]]
"""Reads the weights of a folder back, under Hugging Face's names; rounded ones multiplied out to fp32."""

Keeper: TypeAlias = Callable[[str, Tensor, str], Tensor]
"""Returns what reading back gives of one weight: of its Hugging Face name, in fp32, in a quantisation.

It is computed from the weight alone, not from a file: so a fault in writing cannot hide behind itself.
"""


FieldReader: TypeAlias = Callable[[Path], Mapping[str, Any]]
"""Reads what the files of a folder say beside weights, by names that a message can use."""

AdapterWriter: TypeAlias = Callable[[Path, Path], str | None]
"""Writes an adapter folder, un-merged, into what a `Writer` wrote; returns why it could not be, if so."""


@dataclass(frozen=True)
class ExportFormat:
    """A file format that a model is shipped in.

    Attributes:
        name: What `--format` takes.
        quantizations: What `--quantize` takes; the first is the default.
        exact: Those of `quantizations` that reading back gives to the bit, the weights being cast to the
            dtype of the file before they are written.
        write: Writes a complete folder that the runtime loads with no other file or flag. Two calls with one
            model write the same bytes.
        read: Reads it back. None for a plug-in, whose files are compared as wholes.
        keep: What `read` must give of each weight. None where `read` is None.
        runtime: The module of `whisper_peft.deploy.runtimes` that runs it; empty for a plug-in.
        read_fields: What else its binary files hold, such as alignment heads. None where that is nothing.
        read_companions: What its files tell of tokens, generation and sizes, by the names of
            `whisper_peft.deploy.companion_faults`. None for a plug-in.
        write_adapter: Also ships the adapter itself. None where the format has no place for one.
        model_folder: The folder below that the runtime is given; empty for the whole.
    """

    name: str
    quantizations: tuple[str, ...]
    exact: tuple[str, ...]
    write: Writer
    read: Reader | None
    keep: Keeper | None
    runtime: str
    read_fields: FieldReader | None = None
    read_companions: FieldReader | None = None
    write_adapter: AdapterWriter | None = None
    model_folder: str = ""


@dataclass(frozen=True)
class Reference:
    """The clips of a comparison, and what the model that is exported says about them in this library.

    Attributes:
        clips: Decoded utterances with text: 16 kHz, mono.
        language: Code such as `en`, the same for all clips; None for an English-only model.
        task: transcribe or translate.
        normalizer: Name of the normaliser of the WER's text.
        transcripts: One for each clip: greedy, no timestamps, 30 s of context.
        decoder_input_ids: Tokens of each clip that logits are compared at.
        logits: Of each clip, shape `(tokens, vocabulary)`, fp32, on the CPU.
    """

    clips: tuple[Utterance, ...]
    language: str | None
    task: str
    normalizer: str
    transcripts: tuple[str, ...]
    decoder_input_ids: tuple[tuple[int, ...], ...]
    logits: tuple[Tensor, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an export may drift from the model before it is refused.

    Attributes:
        min_equal: Least share of clips whose transcripts are the model's own, for float formats.
        max_wer_increase: Most that the WER may rise, as a fraction, for quantised ones.
    """

    min_equal: float = 0.95
    max_wer_increase: float = 0.005
