"""`export` and `verify`: from a run or model to files that ship, and the proof that they are it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from whisper_peft.data.sources.opening import open_split
from whisper_peft.deploy.export_record import RECORD_FILE, ExportRecord, read_record
from whisper_peft.deploy.export_values import Reference, Tolerance, Writer
from whisper_peft.deploy.exporters import find_orders
from whisper_peft.deploy.exporting import (
    Export,
    Order,
    Proof,
    Source,
    contexts_of,
    export_one,
    fold,
    refuse_missing,
    refuse_used,
)
from whisper_peft.deploy.formats import FORMATS
from whisper_peft.deploy.parity import measure_model
from whisper_peft.deploy.reference import refuse_unlike, take_reference
from whisper_peft.deploy.verification import verify_folder
from whisper_peft.errors import ExportError, RefusedExportError
from whisper_peft.export_types import ExportResult, ParityRow, ParityTable, Verification
from whisper_peft.model.adapters.activity import check_activity
from whisper_peft.model.adapters.folders import find_adapter_folder
from whisper_peft.model.loading import Whisper, load_run_or_model
from whisper_peft.pipeline.context_choice import read_figures
from whisper_peft.pipeline.corpora.nearest_language import settle_language
from whisper_peft.pipeline.operations import recipe_of
from whisper_peft.pipeline.runs.run_folder import ADAPTER, RECIPE_FILE, run_of
from whisper_peft.pipeline.runs.speech import clips_to_compare
from whisper_peft.recipe.overrides import given_overrides
from whisper_peft.recipe.sections import ModelSection, Recipe
from whisper_peft.reporting.pages.parity_page import write_parity
from whisper_peft.reporting.run_report import environment_meta
from whisper_peft.types import SAMPLING_RATE, Utterance

Overrides = Mapping[str, Any]


def export(
    run_or_model: str | Path,
    *,
    output_dir: str | Path,
    format: str | Writer | Sequence[str | Writer] = "huggingface",
    quantize: str | Sequence[str] = (),
    clips: int = 100,
    min_equal: float = 0.95,
    max_wer_increase: float = 0.005,
    threads: int = 1,
    model: Overrides | None = None,
    data: Overrides | None = None,
    on_exported: Callable[[Export], None] | None = None,
) -> ExportResult:
    """Write a run or model in other formats, and prove each in its own runtime on real clips.

    Args:
        run_or_model: A run or adapter folder, or whatever `model.name` takes.
        output_dir: Folder to make; a folder for each format and quantisation in it, and the parity table.
        format: `huggingface`, `ctranslate2`, `ggml`, `onnx`, `openai`, `vllm`, several, or `all`;
            `module:name`, an entry point or a callable of your own (`whisper_peft.deploy.exporters`).
        quantize: Such as `int8`; of several, each format takes those that it has. None: its default. `all`.
        clips: Most clips to compare on, the first of the run's eval split or of `data`.
        min_equal: Least share of equal transcripts, for float formats.
        max_wer_increase: Most that the WER may rise, as a fraction, for quantised ones.
        threads: Threads of each runtime.
        model: Fields of the section to override, such as `{"language": "fr"}`.
        data: Overrides, such as `{"source": "my/speech", "eval": "test"}`.
        on_exported: Called with each folder once it is made.

    Raises:
        RefusedExportError: If one drifts past the tolerance; the others are complete, `result` tells all.
        ExportError: If the adapter changes nothing, or the folded model is not the adapter model.

    Example:
        >>> export("runs/demo", format="ctranslate2", quantize="int8", output_dir="ct2")  # doctest: +SKIP
    """
    orders = find_orders(_listed(format), _listed(quantize))
    for order in orders:
        refuse_missing(order.form)
    recipe, folder = _recipe(run_or_model, model, data), Path(output_dir)
    heard = clips_to_compare(open_split(recipe.data, "eval"), clips)
    refuse_used(folder)
    source, reference = _folded(run_or_model, recipe, heard)
    itself = [
        measure_model(str(run_or_model), reference, threads=threads, short_context=short)
        for short in contexts_of(source)
    ]
    proof = Proof(reference, itself[0].wer, Tolerance(min_equal, max_wer_increase), threads)
    exports: list[Export] = []
    for order in orders:
        exports.append(export_one(order, source, proof, folder))
        rows = (*itself, *(row for made in exports for row in made.rows))
        result = _result(folder, exports, _table(str(run_or_model), reference, rows, threads=threads))
        write_parity(result.table, folder)  # each time: what was measured outlives a Ctrl-C
        if on_exported is not None:
            on_exported(exports[-1])
    _raise_refused(result)
    return result


def _raise_refused(result: ExportResult) -> None:
    if result.refused:
        what = f"{len(result.refused)} of {len(result.refused) + len(result.exported)} exports were refused"
        todo = "they are kept aside: do not ship them"
        raise RefusedExportError(what, "; ".join(result.refused), todo, result=result)


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or callable(value) else list(value)


def _recipe(run_or_model: str | Path, model: Overrides | None, data: Overrides | None) -> Recipe:
    overrides = {name: dict(fields) for name, fields in given_overrides(model=model, data=data).items()}
    if "source" not in overrides.get("data", {}) and not (Path(run_of(run_or_model)) / RECIPE_FILE).is_file():
        raise ExportError(
            f"{run_or_model} names no speech to compare on",
            "an export is accepted by what it transcribes",
            "give --data.source SPEECH, and --data.eval where its split has another name",
        )
    return recipe_of(run_or_model, overrides)


def _load(run_or_model: str | Path, recipe: Recipe) -> Whisper:
    """Load in float, whatever it was trained in: files hold whole numbers of their own rounding."""
    given = {name: getattr(recipe.model, name) for name in recipe.model.model_fields_set}
    whole = {**given, "quantize": "none", "precision": "fp32"}
    return load_run_or_model(str(run_or_model), ModelSection(**whole))


def _folded(run_or_model: str | Path, recipe: Recipe, heard: Sequence[Utterance]) -> tuple[Source, Reference]:
    """Return the whole model, and what the adapter model says, after making sure that they are one."""
    whisper = _load(run_or_model, recipe)
    if whisper.model is not whisper.core and (why := check_activity(whisper)) is not None:
        todo = "train it, or export its base by its own name"
        raise ExportError(f"{run_or_model} says what its base says", why, todo)
    reference = _reference(whisper, recipe, heard)
    source = _source(run_or_model, whisper)
    if source.adapter is not None:
        refuse_unlike(source.whisper, reference)
    return source, reference


def _reference(whisper: Whisper, recipe: Recipe, clips: Sequence[Utterance]) -> Reference:
    told = settle_language(recipe.model.language, open_split(recipe.data, "eval"), whisper)
    task, normalizer = recipe.model.task, recipe.eval.normalizer
    return take_reference(whisper, clips, language=told.language, task=task, normalizer=normalizer)


def _source(run_or_model: str | Path, whisper: Whisper) -> Source:
    """Return the whole model; the adapter model is used up."""
    folder, adapted = Path(run_or_model), whisper.model is not whisper.core
    adapter = next(filter(None, map(find_adapter_folder, (folder / ADAPTER, folder))), None)
    return Source(
        fold(whisper),
        name=str(run_or_model),
        adapter=adapter if adapted else None,
        base=whisper.checkpoint.name if adapted else None,
        short_context=read_figures(folder) is not None,
    )


def _table(model: str, reference: Reference, rows: Sequence[ParityRow], *, threads: int) -> ParityTable:
    machine = environment_meta(0)
    return ParityTable(
        model=model,
        clips=len(reference.clips),
        audio_s=sum(len(clip.waveform) for clip in reference.clips) / SAMPLING_RATE,
        normalizer=reference.normalizer,
        threads=threads,
        machine=f"{machine.cpu}, {machine.cores} cores",
        rows=tuple(rows),
    )


def _result(folder: Path, exports: Sequence[Export], table: ParityTable) -> ExportResult:
    return ExportResult(
        folder=str(folder),
        exported=tuple(str(made.folder) for made in exports if made.problem is None),
        refused=tuple(f"{made.folder}: {made.problem}" for made in exports if made.problem is not None),
        remarks=tuple(f"{made.folder.name}: {made.remark}" for made in exports if made.remark),
        table=table,
    )


def verify(
    folder: str | Path,
    *,
    against: str | Path | None = None,
    format: str | Writer | None = None,
    quantize: str | None = None,
    model: Overrides | None = None,
) -> tuple[Verification, ...]:
    """Check exported folders, tensor by tensor and file by file.

    Args:
        folder: An exported folder, or one that holds several.
        against: The run or model that it should be: every weight and file is compared with it. None: the
            folder's `export.json`, which cannot tell a fault that was there when it was written.
        format: Its format. None: what its `export.json` says.
        quantize: What it was written in. None: what its `export.json` says, else the format's default.
        model: Fields of the section to override for `against`.

    Raises:
        WhisperPeftError: If there is nothing to compare, or nothing to compare it with.

    Example:
        >>> verify("ct2", against="runs/demo")[0].faults  # doctest: +SKIP
        ()
    """
    folders = [(one, *_ordered(one, format, quantize)) for one in _exports_in(Path(folder))]
    source, section = None, ModelSection()
    if against is not None:
        recipe = recipe_of(against, {"model": dict(model)} if model else {})
        section = recipe.model.model_copy(update={"quantize": "none", "precision": "fp32"})
        source = _source(against, _load(against, recipe))
    return tuple(verify_folder(one, order, record, source, section) for one, order, record in folders)


def _exports_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ExportError(f"{folder} is no folder", "there is nothing to verify", "give an exported folder")
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    is_one = (folder / RECORD_FILE).is_file() or not any((path / RECORD_FILE).is_file() for path in inside)
    return [folder] if is_one else inside


def _ordered(
    folder: Path, format: str | Writer | None, quantize: str | None
) -> tuple[Order, ExportRecord | None]:
    """Return the format and quantisation of a folder, and its record where it has one."""
    record = read_record(folder)
    named = format or (record.format if record else None)
    if named is None:
        raise ExportError(
            f"{folder} has no {RECORD_FILE}",
            "nothing tells its format",
            f"give --format, one of {', '.join(FORMATS)}, and --against RUN_OR_MODEL",
        )
    words = quantize or (record.quantization if record else None)
    return find_orders([named], [words] if words else [])[0], record
