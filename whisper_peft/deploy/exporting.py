"""From a tuned model to files, each proved in its own runtime before it is accepted.

The model is loaded in float, says what it says, and is folded in memory. A format is written into a hidden
folder, read back and compared with the model bit by bit, run on real clips in a process of its own, and only
then given its name. What fails is kept, under a name that tells so.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from safetensors import SafetensorError

from whisper_peft.deploy.companion_faults import companion_faults
from whisper_peft.deploy.export_record import (
    ExportRecord,
    file_digests,
    library_versions,
    tensor_digests,
    write_record,
)
from whisper_peft.deploy.export_values import ExportFormat, Reference, Tolerance
from whisper_peft.deploy.file_faults import Fault
from whisper_peft.deploy.parity import measure
from whisper_peft.deploy.runtimes import RUNTIMES, require
from whisper_peft.deploy.weights import TIED, read_back, source_weights, weight_faults
from whisper_peft.errors import StorageError, WhisperPeftError
from whisper_peft.export_types import ParityRow
from whisper_peft.model.adapters.attaching import adapter_model
from whisper_peft.model.library_noise import no_loading_bar
from whisper_peft.model.loading import Whisper

REFUSED = "refused"
"""Prefix of the folder of an export that was set aside."""


@dataclass(frozen=True)
class Order:
    """One folder to make.

    Attributes:
        form: The format.
        quantization: One of the format's.
    """

    form: ExportFormat
    quantization: str

    @property
    def folder(self) -> str:
        """Name of the folder: `ctranslate2-int8`."""
        return f"{self.form.name.replace(':', '.')}-{self.quantization}"


@dataclass(frozen=True)
class Source:
    """What is exported.

    Attributes:
        whisper: The whole model in float, its adapter folded in.
        name: The run, adapter folder or model it was loaded from.
        adapter: The adapter folder, which some formats ship too; None for a model without.
        base: The model that the adapter was folded into.
        short_context: Whether it was tuned on clips alone, without padding to 30 s.
    """

    whisper: Whisper
    name: str
    adapter: Path | None
    base: str | None
    short_context: bool


@dataclass(frozen=True)
class Proof:
    """What an export has to stand.

    Attributes:
        reference: What the model says about the clips.
        wer: WER of the model itself on them.
        tolerance: How far an export may drift.
        threads: Threads of its runtime.
    """

    reference: Reference
    wer: float
    tolerance: Tolerance
    threads: int


@dataclass(frozen=True)
class Export:
    """What became of one order.

    Attributes:
        folder: Where it lies.
        rows: What its runtime said; none for a plug-in, whose runtime is not known.
        problem: Why it was refused; None for an accepted one.
        remark: What its user should know; empty where there is nothing.
    """

    folder: Path
    rows: tuple[ParityRow, ...]
    problem: str | None = None
    remark: str = ""


def contexts_of(source: Source) -> tuple[bool, ...]:
    """Return whether the context is short, for each at which a model is measured.

    Example:
        >>> contexts_of(Source(None, "openai/whisper-tiny.en", None, None, short_context=False))
        (False,)
    """
    return (False, True) if source.short_context else (False,)


def fold(whisper: Whisper) -> Whisper:
    """Return a model with its adapter folded into its weights in memory; the adapter model is used up."""
    if whisper.model is whisper.core:
        return whisper
    with no_loading_bar():
        return replace(whisper, model=adapter_model(whisper).merge_and_unload())


def refuse_missing(form: ExportFormat) -> None:
    """Refuse a format whose runtime is not installed, before any work.

    Raises:
        ExportError: With what brings it.
    """
    if form.runtime:
        kind = RUNTIMES[form.runtime]
        for library in kind.libraries:
            require(library, install=kind.install)


def refuse_used(folder: Path) -> None:
    """Refuse a folder that has something in it, or cannot be made.

    Raises:
        StorageError: With what to do.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise StorageError(
            f"the folder {folder} is in use",
            "an export never overwrites",
            "give another --output-dir or delete it",
        )
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tell errors of writing as the user's to mend.

    Raises:
        StorageError: If a folder cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"{folder} cannot be written", str(error), "free some space, or give another --output-dir"
        ) from error


def export_one(order: Order, source: Source, proof: Proof, output_dir: Path) -> Export:
    """Write one format, prove it, and give it its name.

    Args:
        order: Format and quantisation.
        source: The model.
        proof: What it has to stand.
        output_dir: Folder to make the format's folder in.

    Raises:
        StorageError: If it cannot be written.
    """
    partial = output_dir / f".partial-{order.folder}"
    shutil.rmtree(partial, ignore_errors=True)
    with writing(partial):
        partial.mkdir()
        rows: tuple[ParityRow, ...] = ()
        remark, record = "", _record(order, source, partial)
        try:
            remark = _write(order, source, partial)
            record, problem = _read_back(order, source, partial, record)
            if problem is None:
                rows = tuple(_measure(order, source, partial, proof))
                problem = judge(order, rows, proof)
        except StorageError:
            raise
        except WhisperPeftError as error:
            problem = str(error)
        record = replace(record, files=file_digests(partial), refused=problem)
        write_record(record, partial)
        folder = output_dir / (order.folder if problem is None else f"{REFUSED}-{order.folder}")
        partial.replace(folder)
    rows = tuple(replace(row, folder=str(folder), refused=problem) for row in rows)
    return Export(folder, rows, problem, remark)


def _record(order: Order, source: Source, folder: Path) -> ExportRecord:
    return ExportRecord(
        format=order.form.name,
        quantization=order.quantization,
        source=source.name,
        base=source.base,
        versions=library_versions(),
        tensors={},
        files={},
    )


def _write(order: Order, source: Source, folder: Path) -> str:
    """Write the folder, and return what its user should know."""
    order.form.write(source.whisper, folder, order.quantization)
    if order.form.write_adapter is None or source.adapter is None:
        return ""
    why = order.form.write_adapter(source.adapter, folder)
    return f"the adapter is left out: {why}" if why else ""


def _read_back(
    order: Order, source: Source, folder: Path, record: ExportRecord
) -> tuple[ExportRecord, str | None]:
    """Return the record with the digests of what lies on disk, and the first difference from the model."""
    if order.form.read is None:
        return record, None
    weights = source_weights(source.whisper)
    found = read_back(order.form, folder, tied=TIED not in weights)
    faults = [
        Fault(*astuple(fault)) for fault in weight_faults(weights, found, order.form, order.quantization)
    ]
    faults = faults or _companion_faults(order.form, source, folder)
    problem = f"written otherwise than the model: {faults[0]}" if faults else None
    return replace(record, tensors=tensor_digests(found)), problem


def _companion_faults(form: ExportFormat, source: Source, folder: Path) -> list[Fault]:
    if form.read_companions is None:
        return []
    try:
        told = form.read_companions(folder)
    except (OSError, ValueError, KeyError) as error:
        return [Fault("what lies beside the weights", f"cannot be read: {error!r}")]
    return companion_faults(source.whisper, told)


def _measure(order: Order, source: Source, folder: Path, proof: Proof) -> Iterator[ParityRow]:
    """Yield what the runtime says at 30 s, and at short context where model and runtime can."""
    if not order.form.runtime:
        return
    exact = True if order.quantization in order.form.exact else None
    can = RUNTIMES[order.form.runtime].hears_short
    for short in [short for short in contexts_of(source) if can or not short]:
        row = measure(
            folder,
            order.form,
            order.quantization,
            proof.reference,
            threads=proof.threads,
            short_context=short,
        )
        yield replace(row, weights_identical=exact)


def judge(order: Order, rows: Sequence[ParityRow], proof: Proof) -> str | None:
    """Return why an export is refused, by its transcripts at 30 s; None for an accepted one.

    Float formats are held to the model's own transcripts, quantised ones to its WER.
    """
    tolerance, baseline = proof.tolerance, proof.wer
    for row in rows[:1]:
        if order.quantization in order.form.exact and row.equal < tolerance.min_equal:
            return (
                f"{100 * row.equal:.1f} % of its transcripts equal the model's, "
                f"and at least {100 * tolerance.min_equal:g} % should (min_equal)"
            )
        if order.quantization not in order.form.exact and row.wer > baseline + tolerance.max_wer_increase:
            return (
                f"its WER is {100 * row.wer:.2f} % and the model's {100 * baseline:.2f} %, more than "
                f"{100 * tolerance.max_wer_increase:g} points apart (max_wer_increase){_certainty(row)}"
            )
    return None


def _certainty(row: ParityRow) -> str:
    """Return how sure a change of the WER is, and what to do where it may be chance."""
    low, high = (100 * bound for bound in row.wer_change_interval)
    advice = ": it may be chance, and more clips tell better" if low <= 0 else ""
    return f"; the 95 % interval of the change is {low:+.2f} to {high:+.2f} points{advice}"
