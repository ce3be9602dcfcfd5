"""`report.json`: everything a run measured, the only source of every table, plot, card and page."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from whisper_peft.data.text.text_style import LearnedCase
from whisper_peft.errors import StorageError
from whisper_peft.evaluation.error_analysis.values import Breakdown
from whisper_peft.evaluation.health.values import Health
from whisper_peft.measuring import StageCost
from whisper_peft.reporting.json_lines import SCORED
from whisper_peft.reporting.values.augmentation_values import AugmentationRecord
from whisper_peft.reporting.values.curve_values import TrainingCurves
from whisper_peft.types import EvalResult, MergeResult, TrainResult
from whisper_peft.update_types import WeightUpdates

REPORT_FILE = "report.json"


class Record(BaseModel):
    """A frozen block of the report; non-finite numbers become the strings NaN and Infinity."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="strings"
    )


class RunRecord(Record):
    """Which run, when and where."""

    name: str
    """Name of the recipe."""
    folder: str
    """The run folder, as the user gave it."""
    command: str
    """Command line that started the run."""
    started_at: str
    """Start, in ISO 8601 with the offset from UTC."""
    finished_at: str | None = None
    """End; None while the run goes on, or where it was stopped."""
    seconds: float = 0.0
    """Wall-clock seconds from start to end."""


class EvaluationRecord(Record):
    """Scores of the untuned and of the tuned model on the same utterances."""

    before: EvalResult | None = None
    """The untuned model; None when it was not scored."""
    after: EvalResult | None = None
    """The tuned model; None when the run stopped first."""
    after_short: EvalResult | None = None
    """The tuned model at cut context; None unless it was tuned on that. Nothing is chosen by it."""
    difference_interval: tuple[float, float] | None = None
    """95 % interval of the WER after minus the WER before, resampled over pairs of the same utterance."""
    source_difference_intervals: dict[str, tuple[float, float]] = {}
    """The same of each source that was mixed in, by its name; its scores are in `before` and `after`."""
    breakdown: Breakdown | None = None
    """The errors by kind, made from `predictions.jsonl`; None where there are none."""
    scored_split: str
    """Split that both were scored on: the WER of a run is that of this split of the main source alone."""
    selected_split: str | None = None
    """Split that the best step was chosen on; None when nothing was chosen."""


class MixedRecord(Record):
    """A source that was learned, or only scored, beside the main one."""

    name: str
    """Its name: before the ids of its rows, and beside its scores."""
    source: str
    """Where it came from, as in the recipe."""
    train_split: str | None = None
    """Split that was learned from; None where it was only scored."""
    eval_split: str | None = None
    """Split that was scored; None where it was not."""
    language: str | None = None
    """Language of rows that have none of their own; None: that of the model."""
    share: float
    """Share of the rows of an epoch."""
    hours: float | None = None
    """Hours of training speech; None for a stream."""
    utterances: int | None = None
    """Utterances of training speech; None for a stream."""
    skipped: dict[str, int] = {}
    """Rows that were left out of training, by reason."""
    text_style: str | None = None
    """How the transcripts are written."""
    text_case: LearnedCase | None = None
    """The case that they were learned in; None where they were only scored, and in older reports."""


class DataRecord(Record):
    """The speech that was learned from and scored on."""

    source: str
    """Where it came from, as in the recipe."""
    train_split: str | None = None
    """Split that was learned from."""
    eval_split: str | None = None
    """Split that was scored."""
    hours: float | None = None
    """Hours of training speech."""
    utterances: int | None = None
    """Utterances of training speech."""
    skipped: dict[str, int] = {}
    """Rows that were left out of training, by reason."""
    text_style: str | None = None
    """How the transcripts are written, such as upper case without punctuation."""
    text_case: LearnedCase | None = None
    """The case that they were learned in; None in older reports."""
    standing_out: dict[str, int] = {}
    """Training rows that stand out by text, speaking rate or repetition, by reason; they were learned."""
    scored_share_trained_on: dict[str, float] = {}
    """Share of the scored rows whose audio, sentence or speaker is in the training rows too."""
    mixed: tuple[MixedRecord, ...] = ()
    """What was learned beside it."""


class AdapterRecord(Record):
    """Which weights learned."""

    method: str
    """Its name, such as LoRA or full fine-tuning, or the type of the PEFT configuration."""
    trainable: str
    """One sentence: how many parameters learned, and which."""
    updates: WeightUpdates | None = None
    """Where the model changed, layer by layer."""


class ForecastRecord(Record):
    """What the run was expected to take; what it took is in `CostRecord`."""

    peak_memory_bytes: int
    """Most memory of the main process."""
    seconds: float
    """Wall-clock seconds of all stages."""
    step_seconds: float
    """Seconds of an optimiser step, on average."""
    stages: dict[str, StageCost]
    """Seconds and memory of each stage."""


class CostRecord(Record):
    """What the run took of the machine."""

    peak_memory_bytes: int
    """Most memory of the main process: allocated on CUDA, else resident."""
    stages: dict[str, StageCost]
    """Seconds of each stage, and the peak until its end."""


class Environment(Record):
    """Software and machine of the run."""

    versions: dict[str, str]
    """Version of whisper-peft and of every package that it requires."""
    python: str
    """Version of the interpreter."""
    platform: str
    """Operating system and architecture."""
    cpu: str
    """Name of the processor."""
    cores: int
    """Logical cores of the machine."""
    memory_bytes: int
    """Main memory of the machine."""
    gpu: str | None = None
    """Name of the accelerator that was used; None on the CPU."""
    seed: int
    """Seed of data order, augmentation, adapter initialisation and dropout."""
    commit: str | None = None
    """Commit of the checkout that whisper-peft ran from, `-dirty` where it was changed; None of a wheel."""


class RunReport(Record):
    """One run, from speech to a merged model, as it is written to `report.json`.

    Example:
        >>> run = RunRecord(name="demo", folder="runs/demo", command="make demo", started_at="2025-01-01")
        >>> report = RunReport(run=run, meta=environment_meta(42))
        >>> RunReport.from_dict(report.to_dict()) == report
        True
    """

    run: RunRecord
    train: TrainResult | None = None
    evaluation: EvaluationRecord | None = None
    merge: MergeResult | None = None
    data: DataRecord | None = None
    adapter: AdapterRecord | None = None
    curves: TrainingCurves | None = None
    augmentation: AugmentationRecord | None = None
    health: Health | None = None
    forecast: ForecastRecord | None = None
    cost: CostRecord | None = None
    meta: Environment

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form; predictions have a file of their own."""
        plain: dict[str, Any] = json.loads(self.model_dump_json(exclude=WITHOUT_PREDICTIONS))
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> RunReport:
        """Read the plain JSON form.

        Raises:
            StorageError: If fields are missing, unknown or of another type; all of them are named.
        """
        try:
            return cls.model_validate(dict(plain))
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            what = "the report does not have the expected fields"
            raise StorageError(what, "; ".join(faults), "restore it, or run again") from None


WITHOUT_PREDICTIONS: dict[str, Any] = {
    "evaluation": {when: {"predictions": True, "sources": {"__all__": {"predictions"}}} for when in SCORED},
}


def write_report(report: RunReport, folder: Path) -> Path:
    """Write `report.json` into the run folder, whole or not at all.

    Raises:
        StorageError: If the folder is full or not writable.

    Example:
        >>> write_report(report, Path("runs/demo"))  # doctest: +SKIP
        PosixPath('runs/demo/report.json')
    """
    text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    return write_text(folder / REPORT_FILE, text + "\n")


def read_report(folder: Path) -> RunReport:
    """Read `report.json` of a run folder.

    Raises:
        StorageError: If there is none, or it is damaged.

    Example:
        >>> read_report(Path("no-such-run"))
        Traceback (most recent call last):
        ...
        whisper_peft.errors.StorageError: no-such-run has no report.json - ...
    """
    path = folder / REPORT_FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise StorageError(
            f"{folder} has no {REPORT_FILE}", "a run writes it", "give the folder of a run that has started"
        ) from None
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read", str(error), "restore it, or run again") from None
    if not isinstance(plain, dict):
        raise StorageError(f"{path} is no report", "a JSON object was expected", "restore it, or run again")
    return RunReport.from_dict(plain)


def write_text(path: Path, text: str) -> Path:
    """Write a file through a partial one beside it, so that no reader ever sees half of it.

    Raises:
        StorageError: If the folder is full or not writable.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        why = error.strerror or str(error)
        raise StorageError(
            f"{path} cannot be written", why, "free space, or give another --output-dir"
        ) from error
    return path


def environment_meta(seed: int, *, gpu: str | None = None) -> Environment:
    """Describe software and machine without importing any of the packages.

    Args:
        seed: The run's seed.
        gpu: Name of the accelerator in use, from whoever chose the device.

    Example:
        >>> meta = environment_meta(42)
        >>> meta.seed, "torch" in meta.versions, "whisper-peft" in meta.versions
        (42, True, True)
    """
    return Environment(
        versions=_versions(),
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=_cpu_name(),
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        gpu=gpu,
        seed=seed,
        commit=commit_of(Path(__file__).parents[2]),
    )


@cache
def commit_of(checkout: Path) -> str | None:
    """Return the short commit of a git checkout, `-dirty` where it was changed; None of any other folder."""
    if not (checkout / ".git").exists():  # git would look in the folders above, which are of another project
        return None
    asked = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip()


def _versions() -> dict[str, str]:
    required = [
        re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        for requirement in metadata.requires("whisper-peft") or ()
        if "extra ==" not in requirement
    ]
    return {name: metadata.version(name) for name in ["whisper-peft", *sorted(required)]}


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if named:
            return named[1].strip()
    return platform.processor() or platform.machine()
