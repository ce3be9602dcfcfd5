"""What the verbs print, and which of several processes prints it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from whisper_peft.reporting.console.probe_lines import probe_lines
from whisper_peft.reporting.figures import (
    count,
    duration,
    interval,
    memory,
    number,
    percent,
    reasons,
    utterances,
)

if TYPE_CHECKING:
    from whisper_peft.diagnostics.checks import Diagnosis
    from whisper_peft.pipeline.forecasting import Plan
    from whisper_peft.types import EvalResult


def is_main_process() -> bool:
    """Tell whether this process prints: the first of those that a launcher started (`RANK`)."""
    return os.environ.get("RANK", "0") == "0"


def show(text: str) -> None:
    """Print a result, once however many processes there are."""
    if is_main_process():
        print(text)


def tell(message: str) -> None:
    """Print an error to stderr, with the process that met it where there are several."""
    rank = "" if is_main_process() else f"[rank {os.environ['RANK']}] "
    print(f"{rank}{message}", file=sys.stderr)


def scores_text(result: EvalResult) -> str:
    """Return the scores as a few aligned lines."""
    errors = f"{count(result.substitutions)} substitutions, {count(result.deletions)} deletions, "
    lines = {
        "WER": f"{percent(result.wer)} ({interval(result.wer_interval)}), CER {percent(result.cer)}",
        "WER raw": f"{percent(result.wer_raw)}, CER raw {percent(result.cer_raw)}",
        "errors": f"{errors}{count(result.insertions)} insertions, {count(result.hits)} hits",
        "scored on": f"{utterances(result.utterances)}, language {result.language or 'of each row'}",
        "normaliser": f"{result.normalizer}, {result.audio_context} audio context",
        "speed": f"{number(result.rtfx)} audio-seconds per second",
        "memory": f"{memory(result.peak_memory_bytes)} at most",
    }
    lines |= {} if result.probes is None else probe_lines(result.probes)
    if result.characters_as_words:
        lines["words"] = "each character, in scripts without spaces between words"
    if result.skipped:
        lines["skipped"] = reasons(result.skipped)
    for name, mixed in result.sources.items():
        scored = f"{utterances(mixed.utterances)}, {mixed.normalizer} normaliser"
        lines[f"WER on {name}"] = f"{percent(mixed.wer)} ({interval(mixed.wer_interval)}), {scored}"
    width = max(12, *(len(label) + 1 for label in lines))
    return "\n".join(f"{label:<{width}}{text}" for label, text in lines.items())


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """Return what works and what does not, a line each, with what to do about it."""
    width = max(len(check.name) for check in diagnosis.checks)
    lines: list[str] = []
    for check in diagnosis.checks:
        lines.append(f"{'ok' if check.works else 'no'}  {check.name:<{width}}  {check.detail}")
        if check.todo:
            lines.append(f"    {'':<{width}}  -> {check.todo}")
    return "\n".join(lines)


def plan_text(plan: Plan) -> str:
    """Return what a run will take, stage by stage, what would stop it, and what would mend that."""
    lines = list(plan.sentences)
    if plan.forecast is not None:
        forecast = plan.forecast
        lines += ["", f"{'stage':<26}{'time':>12}{'memory':>12}"]
        for name, stage in forecast.stages.items():
            lines.append(f"{name:<26}{duration(stage.seconds):>12}{memory(stage.memory_bytes):>12}")
        step = f"{count(forecast.steps)} steps of {number(forecast.step_seconds)} s"
        learns = f"{count(forecast.trainable_parameters)} of {count(forecast.total_parameters)} parameters"
        peak, free = memory(forecast.peak_memory_bytes), memory(plan.free_memory_bytes)
        lines += [
            "",
            f"time        {duration(forecast.seconds)}, {step}",
            f"memory      {peak} at most, {free} free",
            f"disk        {_parts(forecast.disk_bytes)}; {memory(plan.free_disk_bytes)} free",
            f"trainable   {learns}",
        ]
    if plan.download_bytes:
        lines.append(f"download    {memory(plan.download_bytes)} of weights")
    lines += [f"note        {note}" for note in plan.notes]
    lines += [f"problem     {problem}" for problem in plan.problems]
    for proposal in plan.proposals:
        takes = f"{memory(proposal.peak_memory_bytes)}, {duration(proposal.seconds)}"
        lines.append(f"fits with   {proposal.flags}  ({takes})")
    return "\n".join([*lines, "", "it fits" if plan.fits else "it would be stopped"])


def _parts(sizes: Mapping[str, int]) -> str:
    """Return a sum of bytes and its parts."""
    parts = ", ".join(f"{name} {memory(size)}" for name, size in sizes.items())
    return f"{memory(sum(sizes.values()))} ({parts})"
