"""What the verbs print, and which of several processes prints it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from whisper_peft.reporting.figures import count, interval, memory, number, percent, reasons
from whisper_peft.reporting.probe_lines import probe_lines

if TYPE_CHECKING:
    from whisper_peft.diagnostics import Diagnosis
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
        "scored on": f"{count(result.utterances)} utterances, language {result.language or 'of each row'}",
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
        scored = f"{count(mixed.utterances)} utterances, {mixed.normalizer} normaliser"
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
