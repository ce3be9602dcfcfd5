"""The table of an export: `parity.json`, and its views as Markdown and as one self-contained page."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from whisper_peft.evaluation.error_analysis.alignment import AlignedWord, align
from whisper_peft.export_types import DifferingTranscript, ParityRow, ParityTable
from whisper_peft.reporting import figures
from whisper_peft.reporting.run_report import write_text

PARITY_FILE = "parity.json"
PARITY_MARKDOWN = "parity.md"
PARITY_PAGE = "parity.html"

SHORT = "short"

COLUMNS: tuple[tuple[str, Callable[[ParityRow], str]], ...] = (
    ("Format", lambda row: row.format),
    ("Type", lambda row: row.quantization),
    ("Context", lambda row: row.context),
    ("Size", lambda row: figures.memory(row.size_bytes) if row.size_bytes else "–"),
    ("Load", lambda row: f"{row.load_s:.2f} s"),
    ("Peak memory", lambda row: figures.memory(row.peak_memory_bytes)),
    ("RTFx", lambda row: figures.short(row.rtfx)),
    ("WER", lambda row: figures.percent(row.wer)),
    ("Change, points (95 %)", lambda row: _change(row)),
    ("Equal", lambda row: figures.share(row.equal)),
    ("Logits", lambda row: _logits(row)),
    ("Weights", lambda row: _weights(row)),
    ("Runtime", lambda row: f"{row.runtime} {row.runtime_version}"),
    ("", lambda row: "refused" if row.refused else ""),
)
"""Headings, and what stands below them."""


def _logits(row: ParityRow) -> str:
    difference = row.max_logit_difference
    return "–" if difference is None else f"{difference:.2g}"


def _change(row: ParityRow) -> str:
    if row.equal == 1:
        return ""
    low, high = row.wer_change_interval
    return f"{100 * row.wer_change:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"


def _weights(row: ParityRow) -> str:
    return {True: "identical", False: "differ", None: "–"}[row.weights_identical]


@dataclass(frozen=True, slots=True)
class ShortContext:
    """What the short context gains in one export; `gain` is None where it cannot be used."""

    row: ParityRow
    gain: float | None
    short: ParityRow | None


@dataclass(frozen=True, slots=True)
class ShownDifference:
    """A clip that is written otherwise, with the words that differ."""

    transcript: DifferingTranscript
    words: tuple[AlignedWord, ...]


def write_parity(table: ParityTable, folder: Path) -> Path:
    """Write all three files into a folder; return the page.

    Raises:
        StorageError: If the folder is full or not writable.
    """
    plain = json.dumps(table.to_dict(), indent=2, ensure_ascii=False)
    write_text(folder / PARITY_FILE, plain + "\n")
    write_text(folder / PARITY_MARKDOWN, parity_markdown(table))
    return write_text(folder / PARITY_PAGE, render_parity(table))


def parity_cells(table: ParityTable) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the headings and the printed cells of each row; a column without content is left out."""
    rows = [tuple(cell(row) for _, cell in COLUMNS) for row in table.rows]
    kept = [place for place in range(len(COLUMNS)) if any(row[place] for row in rows)]
    headings = tuple(COLUMNS[place][0] for place in kept)
    return headings, [tuple(row[place] for place in kept) for row in rows]


def parity_markdown(table: ParityTable) -> str:
    """Return the table as Markdown, with every transcript that differs."""
    headings, rows = parity_cells(table)
    lines = [f"# Parity of {table.model}", "", facts(table), "", _line(headings)]
    lines += [_line(("---",) * len(headings)), *map(_line, rows)]
    lines += ["", legend(table), *_short_lines(table)]
    for row in table.rows:
        lines += _refusal(row) + _listed(row)
    return "\n".join(lines) + "\n"


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _refusal(row: ParityRow) -> list[str]:
    return ["", f"**{title(row)} was refused**: {row.refused}"] if row.refused else []


def _short_lines(table: ParityTable) -> list[str]:
    """Return what the short context gains in each runtime, or that it has none."""
    lines = [f"* {title(one.row)}, {one.row.runtime}: {_gained(one)}" for one in short_contexts(table)]
    return ["", "## Short context: the encoder hears each clip alone", "", *lines] if lines else []


def _gained(one: ShortContext) -> str:
    if one.short is None or one.gain is None:
        return "always hears 30 s"
    wer = f"WER {figures.percent(one.short.wer)} for {figures.percent(one.row.wer)}"
    return f"{one.gain:.1f} times as fast, {wer}"


def _listed(row: ParityRow) -> list[str]:
    if not row.differing:
        return []
    lines = ["", f"## {title(row)}: {len(row.differing)} transcripts differ", ""]
    for one in row.differing:
        lines += [f"* {one.clip}", f"  * model: {one.expected}", f"  * export: {one.found}"]
    return lines


def facts(table: ParityTable) -> str:
    """Return what was compared, in a sentence."""
    return (
        f"{table.clips} clips, {figures.duration(table.audio_s)} of speech; "
        f"{table.threads} thread{'s' if table.threads > 1 else ''} on {table.machine}; "
        f"WER by the normaliser {table.normalizer}. Every row is a process of its own: greedy, no "
        "timestamps, no fallback to other temperatures, no previous text."
    )


def legend(table: ParityTable) -> str:
    """Return what the columns mean."""
    return (
        "Equal: transcripts that are the model's own at 30 s, character for character. Change: the WER less "
        "the model's at 30 s, with its paired interval over the clips. Logits: the largest "
        "difference from the model's, where the runtime shows them. Weights: whether reading the files back "
        "gives what was written, to the bit. RTFx: seconds of speech transcribed in a second."
    )


def title(row: ParityRow) -> str:
    """Return the name of a row.

    Example:
        >>> measured = ("", "", "", 0, 0, 0, 0, 0, 0, (), None, None, 0, (0, 0))
        >>> row = ParityRow("ggml", "f16", *measured, context="short")
        >>> title(row)
        'ggml f16, short context'
    """
    name = f"{row.format} {row.quantization}"
    return f"{name}, short context" if row.context == SHORT else name


def short_contexts(table: ParityTable) -> list[ShortContext]:
    """Return for each export what the short context gains; nothing where none was measured at it."""
    short = {(row.format, row.quantization): row for row in table.rows if row.context == SHORT}
    if not short:
        return []
    whole = [row for row in table.rows if row.context != SHORT]
    pairs = [(row, short.get((row.format, row.quantization))) for row in whole]
    return [ShortContext(row, other.rtfx / row.rtfx if other else None, other) for row, other in pairs]


def render_parity(table: ParityTable) -> str:
    """Return the page as HTML; every text in it is escaped."""
    templates = Environment(
        loader=PackageLoader("whisper_peft.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    headings, rows = parity_cells(table)
    return templates.get_template("parity.html").render(
        table=table,
        form=figures,
        headings=headings,
        rows=rows,
        facts=facts(table),
        legend=legend(table),
        title=title,
        short_contexts=short_contexts(table),
        groups=[(row, [_shown(one) for one in row.differing]) for row in table.rows if row.differing],
    )


def _shown(one: DifferingTranscript) -> ShownDifference:
    return ShownDifference(one, align(one.expected, one.found, str))
