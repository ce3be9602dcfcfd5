"""The few lines that are printed when a run ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from whisper_peft.reporting.console.probe_lines import probe_lines
from whisper_peft.reporting.figures import (
    count,
    duration,
    interval,
    memory,
    number,
    percent,
    points,
    reasons,
    share,
    signed_percent,
    utterances,
)
from whisper_peft.reporting.health_views import health_lines
from whisper_peft.reporting.mixed_scores import mixed_scores
from whisper_peft.reporting.run_report import EvaluationRecord, RunReport
from whisper_peft.reporting.style_drift import style_drift
from whisper_peft.reporting.verdict import (
    caution,
    merge_sentence,
    relative_change,
    short_context,
    training_skips,
)
from whisper_peft.types import EvalResult, TrainResult

PLACES = {"memory": "in memory", "disk": "on disk"}

LABEL_WIDTH = 14
"""Columns for the names at the left: the longest is `95 % interval`."""


def summary(report: Mapping[str, Any]) -> str:
    """Return the few lines that say what a run did, from its `report.json`.

    Raises:
        StorageError: If the report lacks fields or has others.

    Example:
        >>> run = {"name": "demo", "folder": "runs/demo", "command": "make demo", "started_at": "2025-01-01"}
        >>> meta = {"versions": {}, "python": "3.11", "platform": "", "cpu": "", "cores": 2, "seed": 1}
        >>> print(summary({"run": run, "meta": {**meta, "memory_bytes": 0}}))
        WER           not measured
        training      did not end
        folder        runs/demo
    """
    lines = _lines(RunReport.from_dict(report))
    return "\n".join(f"{label:<{LABEL_WIDTH}}{text}" for label, text in lines)


def _lines(report: RunReport) -> Iterator[tuple[str, str]]:
    yield from _rates(report.evaluation)
    yield from (("other speech", one.sentence()) for one in mixed_scores(report))
    if report.train is None:
        yield "training", "did not end"
    else:
        yield from _training(report.train)
    if report.merge is not None:
        yield "merge", merge_sentence(report.merge)
        yield "merged model", report.merge.folder
    if skips := training_skips(report):
        yield "skipped", f"training rows: {reasons(skips)}"
    if report.health is not None:
        yield from health_lines(report.health)
    if drift := style_drift(report.evaluation):
        yield "style", drift
    if warning := caution(report):
        yield "caution", warning
    yield "folder", report.run.folder


def _rates(evaluation: EvaluationRecord | None) -> Iterator[tuple[str, str]]:
    before = evaluation.before if evaluation else None
    after = evaluation.after if evaluation else None
    scored = after or before
    if evaluation is None or scored is None:
        yield "WER", "not measured"
        return
    yield "WER", _rate(before, after, "wer")
    yield from _intervals(evaluation)
    yield "CER", _rate(before, after, "cer")
    yield "WER raw", _rate(before, after, "wer_raw")
    conditions = f"{scored.normalizer} normaliser, {scored.audio_context} audio context"
    conditions += ", characters of scripts without spaces as words" if scored.characters_as_words else ""
    yield "scored on", f"{utterances(scored.utterances)} of {evaluation.scored_split}: {conditions}"
    if short := short_context(evaluation):
        yield "cut context", short
    yield from _probes(before, after)


def _probes(before: EvalResult | None, after: EvalResult | None) -> Iterator[tuple[str, str]]:
    """Yield a line for each probe, before -> after."""
    measured = [probe_lines(result.probes) for result in (before, after) if result and result.probes]
    for label in dict.fromkeys(label for lines in measured for label in lines):
        yield label, " -> ".join(lines[label] for lines in measured if label in lines)


def _rate(before: EvalResult | None, after: EvalResult | None, name: str) -> str:
    rates = [None if result is None else float(getattr(result, name)) for result in (before, after)]
    printed = " -> ".join("not measured" if rate is None else percent(rate) for rate in rates)
    if rates[0] is None or rates[1] is None:
        return printed
    relative = relative_change(rates[0], rates[1])
    if relative is None:
        return printed
    return f"{printed} ({signed_percent(relative)} relative{', worse' if relative > 0 else ''})"


def _intervals(evaluation: EvaluationRecord) -> Iterator[tuple[str, str]]:
    scored = [result for result in (evaluation.before, evaluation.after) if result is not None]
    yield "95 % interval", " -> ".join(interval(result.wer_interval) for result in scored)
    if evaluation.difference_interval is not None:
        low, high = evaluation.difference_interval
        chance = ", which may be chance" if low <= 0 <= high else ""
        yield "  of change", f"{points(low)} to {points(high)}{chance}"


def _training(train: TrainResult) -> Iterator[tuple[str, str]]:
    trainable, total = train.trainable_parameters, train.total_parameters
    yield "trainable", f"{count(trainable)} of {count(total)} parameters ({percent(trainable / total)})"
    steps = f"{count(train.steps)} steps, {number(train.epochs)} epochs in {duration(train.train_seconds)}"
    loss = f"loss {number(train.first_loss)} -> {number(train.final_loss)}"
    yield "training", f"{steps}, stopped by {train.stopped_by}; {loss}"
    speed = f"{number(train.audio_seconds_per_second)} audio-seconds per second"
    yield "speed", f"{speed}, data wait {share(train.data_wait_share)}{_processes(train.world_size)}"
    yield "peak memory", memory(train.peak_memory_bytes)
    if train.refused_updates:
        spikes = f", {count(train.spikes)} as spikes" if train.spikes else ""
        back = f"; went back {count(train.rollbacks)} times" if train.rollbacks else ""
        yield "left out", f"{count(train.refused_updates)} steps changed no weight{spikes}{back}"
    if train.micro_batch_parts > 1:
        yield "out of memory", f"micro-batches were dealt into {count(train.micro_batch_parts)} parts"
    if train.targets:
        windows = ", ".join(f"{count(n)} {kind.replace('_', ' ')}" for kind, n in train.targets.items())
        yield "targets", f"windows with {windows}"
    if use := train.encoder_cache:
        windows = f"{share(use.hit_share)} of {count(use.hits + use.misses)} windows were not encoded again"
        yield "encoder cache", f"{windows}: {memory(use.bytes)} kept {PLACES[use.kind]}"


def _processes(world_size: int) -> str:
    return f", {world_size} processes" if world_size > 1 else ""
