"""`export` and `verify`: files for other runtimes, and the proof that they are the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro import MISSING
from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.errors import ExportError, RefusedExportError
from whisper_peft.flags import parse_command
from whisper_peft.recipe.overrides import tree_of
from whisper_peft.recipe.sections import DataSection, ModelSection, Section
from whisper_peft.reporting.pages.parity_page import parity_markdown
from whisper_peft.terminal import show, tell

if TYPE_CHECKING:
    from whisper_peft.export_types import ExportResult, Verification


class ExportFields(Section):
    """What is exported, and the speech to compare on."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()


class VerifyFields(Section):
    """How the model to compare with is loaded."""

    model: ModelSection = ModelSection()


@dataclass(frozen=True)
class Export:
    """Write a run or model for other runtimes, and prove each file in its own runtime on real clips."""

    run_or_model: Annotated[Positional[str], arg(metavar="RUN_OR_MODEL")]
    """A run or adapter folder, or a model's name or folder."""
    output_dir: Path
    """Folder to make: a folder for each format and quantisation, and the parity table."""
    format: tuple[str, ...] = ("huggingface",)
    """huggingface, ctranslate2, ggml, onnx, openai, vllm, all of them (all), or your own module:name."""
    quantize: tuple[str, ...] = ()
    """Such as int8 or f16; each format takes those that it has. None: its default. all: every one."""
    clips: int = 100
    """Most clips of the eval split to compare on."""
    min_equal: float = 0.95
    """Least share of clips with equal transcripts that a float format is accepted with."""
    max_wer_increase: float = 0.005
    """Most that the WER of a quantised format may rise, as a fraction."""
    threads: int = 1
    """Threads of each runtime."""
    fields: Annotated[ExportFields, arg(name="")] = field(default_factory=ExportFields)


@dataclass(frozen=True)
class Verify:
    """Check an exported folder, tensor by tensor and file by file."""

    folder: Annotated[Positional[Path], arg(metavar="EXPORT_FOLDER")]
    """An exported folder, or one that holds several."""
    against: str | None = None
    """The run or model that it should be. None: what its export.json says."""
    format: str | None = None
    """Its format, where it has no export.json."""
    quantize: str | None = None
    """What it was written in, where it has no export.json."""
    fields: Annotated[VerifyFields, arg(name="")] = field(default_factory=VerifyFields)


def run_export(words: list[str]) -> None:
    """Write a run or model for other runtimes, and prove each file there on real clips."""
    default = Export(MISSING, output_dir=MISSING)
    command, overrides = parse_command(default, words, prog="whisper-peft export")
    try:
        result = whisper_peft.export(
            command.run_or_model,
            output_dir=command.output_dir,
            format=command.format,
            quantize=command.quantize,
            clips=command.clips,
            min_equal=command.min_equal,
            max_wer_increase=command.max_wer_increase,
            threads=command.threads,
            on_exported=lambda made: tell(f"made {made.folder}"),
            **tree_of(overrides),
        )
    except RefusedExportError as refusal:
        _show(refusal.result)
        raise
    _show(result)


def _show(result: ExportResult) -> None:
    show("\n".join([parity_markdown(result.table), *result.remarks, *result.exported]))


def run_verify(words: list[str]) -> None:
    """Check an exported folder against what it was made from."""
    command, overrides = parse_command(Verify(MISSING), words, prog="whisper-peft verify")
    found = whisper_peft.verify(
        command.folder,
        against=command.against,
        format=command.format,
        quantize=command.quantize,
        **tree_of(overrides),
    )
    show("\n".join(_verdict(one) for one in found))
    if faulty := [one for one in found if one.faults]:
        raise ExportError(
            f"{len(faulty)} of {len(found)} exports are not what they should be",
            "; ".join(one.folder for one in faulty),
            "do not ship them: export again with whisper-peft export",
        )


def _verdict(one: Verification) -> str:
    head = f"{one.folder} ({one.format} {one.quantization}) against {one.against}: "
    if one.faults:
        return "\n  ".join([f"{head}{len(one.faults)} faults", *one.faults])
    return f"{head}{one.tensors} tensors and {one.files} files are as they should be"
