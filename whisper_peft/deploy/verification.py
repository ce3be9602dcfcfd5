"""Whether a folder still is what was exported, and whether what was exported is the model.

`export.json` tells what lay in the folder when it was accepted. The model tells more: its weights are
compared with those that are read back, and a second export of it with every file, so that a fault that was
there from the beginning, and one that somebody wrote into `export.json` too, comes to light as well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from whisper_peft.deploy.export_record import (
    RECORD_FILE,
    ExportRecord,
    file_digests,
    tensor_digests,
)
from whisper_peft.deploy.export_values import ExportFormat
from whisper_peft.deploy.exporting import Order, Source
from whisper_peft.deploy.file_faults import Fault, file_faults
from whisper_peft.deploy.weights import TIED, WeightFault, read_back, source_weights, weight_faults
from whisper_peft.errors import ExportError
from whisper_peft.export_types import Verification
from whisper_peft.model.loading import load_whisper
from whisper_peft.recipe.sections import ModelSection

MOST_FAULTS = 20
"""Faults that are told; a folder of another model would have hundreds."""


def verify_by_record(folder: Path, record: ExportRecord, form: ExportFormat) -> list[Fault]:
    """Return what differs between a folder and its `export.json`.

    Args:
        folder: The export.
        record: Its `export.json`.
        form: Its format.
    """
    found = file_digests(folder)
    faults = [Fault(name, "is missing") for name in sorted(record.files.keys() - found.keys())]
    faults += [Fault(name, "does not belong there") for name in sorted(found.keys() - record.files.keys())]
    changed = [
        name for name in sorted(record.files) if found.get(name, record.files[name]) != record.files[name]
    ]
    faults += [Fault(name, "is not the file that was exported (SHA-256)") for name in changed]
    if faults and form.read is not None:
        faults += _tensors_by_record(folder, record, form)
    return faults


def _tensors_by_record(folder: Path, record: ExportRecord, form: ExportFormat) -> Iterator[Fault]:
    try:
        weights = read_back(form, folder, tied=TIED not in record.tensors)
    except Exception as error:  # damaged bytes break the libraries that parse them in ways of their own
        yield _unreadable(error)
        return
    found, owners = tensor_digests(weights), {digest: name for name, digest in record.tensors.items()}
    for name in sorted(record.tensors.keys() | found.keys()):
        if found.get(name) != record.tensors.get(name):
            owner = owners.get(found.get(name, ""))
            holds = f"holds what belongs to {owner}" if owner else "is not the tensor that was exported"
            yield Fault(name, holds)


def _unreadable(error: Exception) -> Fault:
    return Fault("the weights", f"cannot be read: {str(error).splitlines()[0] if str(error) else error!r}")


def verify_by_source(folder: Path, order: Order, source: Source, section: ModelSection) -> list[Fault]:
    """Return what differs between a folder and an export of its model now.

    Args:
        folder: The export.
        order: Its format and quantisation.
        source: The model that it should be.
        section: How the model's base is loaded, to tell an export without the adapter.
    """
    faults = list(_weights_by_source(folder, order, source, section))
    with tempfile.TemporaryDirectory(prefix="whisper-peft-verify-") as temporary:
        again = Path(temporary)
        order.form.write(source.whisper, again, order.quantization)
        if order.form.write_adapter is not None and source.adapter is not None:
            order.form.write_adapter(source.adapter, again)
        faults += file_faults(again, folder, weights_differ=bool(faults), read_fields=order.form.read_fields)
    return faults


def _weights_by_source(folder: Path, order: Order, source: Source, section: ModelSection) -> Iterator[Fault]:
    if order.form.read is None:
        return
    weights = source_weights(source.whisper)
    try:
        found = read_back(order.form, folder, tied=TIED not in weights)
    except Exception as error:  # as above
        yield _unreadable(error)
        return
    wrong = list(weight_faults(weights, found, order.form, order.quantization))
    if wrong and source.base is not None and _is_base(wrong, found, order, source.base, section):
        yield Fault("the weights", f"are those of {source.base}: the adapter is not applied")
        return
    for fault in wrong:
        yield Fault(fault.name, fault.what)


def _is_base(
    wrong: list[WeightFault],
    found: Mapping[str, Tensor],
    order: Order,
    base: str,
    section: ModelSection,
) -> bool:
    """Tell whether all tensors that are wrong are the base's own."""
    names = {fault.name for fault in wrong}
    weights = source_weights(load_whisper(section.model_copy(update={"name": base})))
    if not names <= weights.keys() & found.keys():
        return False
    base_of = {name: weights[name] for name in names}
    return not list(
        weight_faults(base_of, {name: found[name] for name in names}, order.form, order.quantization)
    )


def verify_folder(
    folder: Path, order: Order, record: ExportRecord | None, source: Source | None, section: ModelSection
) -> Verification:
    """Compare a folder with the model that it should be, or with its record.

    Args:
        folder: The export.
        order: Its format and quantisation.
        record: Its `export.json`, where it has one.
        source: The model. None: the record is all there is.
        section: How the model's base is loaded, to tell an export without the adapter.

    Raises:
        ExportError: If there is neither a record nor a model.
    """
    if source is not None:
        faults = verify_by_source(folder, order, source, section)
        against, tensors = source.name, len(source_weights(source.whisper)) if order.form.read else 0
    elif record is not None:
        faults = verify_by_record(folder, record, order.form)
        against, tensors = RECORD_FILE, len(record.tensors)
    else:
        raise ExportError(
            f"{folder} has no {RECORD_FILE}",
            "nothing tells what was exported",
            "give what it was made from: --against RUN_OR_MODEL",
        )
    if record is not None and record.refused is not None:
        faults.insert(0, Fault("the export", f"was refused: {record.refused}"))
    said = [str(fault) for fault in faults[:MOST_FAULTS]]
    more = [f"and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
    return Verification(
        folder=str(folder),
        format=order.form.name,
        quantization=order.quantization,
        against=against,
        tensors=tensors,
        files=len(file_digests(folder)),
        faults=(*said, *more),
    )
