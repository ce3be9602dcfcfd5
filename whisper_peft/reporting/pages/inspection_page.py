"""What `inspect` writes: `inspection.json`, one self-contained page, and a CSV of rows to correct."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from whisper_peft.data.survey.findings import Inspection, Suspect
from whisper_peft.reporting import figures
from whisper_peft.reporting.console.findings_text import (
    all_suspects,
    concern_rows,
    facts,
    leak_sentence,
    verdict,
)
from whisper_peft.reporting.plots.histograms import Histogram, histogram
from whisper_peft.reporting.run_report import write_text

INSPECTION_FILE = "inspection.json"
INSPECTION_PAGE = "inspection.html"
SUSPECTS_FILE = "suspicious.csv"

COLUMNS = (
    "id", "audio", "text", "corrected_text", "action", "reasons", "heard", "split", "speaker_id", "language",
    "duration_s", "start_s", "end_s",
)  # fmt: skip
"""Columns of the CSV; manifests read those that they know."""

MOST_WITHOUT_CLIP = 100
"""Rows that the page lists beside those that can be played."""

Clips = Mapping[tuple[str, str], bytes]
"""FLAC files by split and id."""


@dataclass(frozen=True, slots=True)
class ShownSuspect:
    """A row on the page; `clip` is its recording as a data URI, where it can be played."""

    suspect: Suspect
    clip: str | None


def write_inspection(inspection: Inspection, clips: Clips, folder: Path) -> Path:
    """Write all three files into a folder; return the page.

    Raises:
        StorageError: If the folder is full or not writable.
    """
    plain = json.dumps(inspection.to_dict(), indent=2, ensure_ascii=False)
    write_text(folder / INSPECTION_FILE, plain + "\n")
    write_text(folder / SUSPECTS_FILE, suspects_csv(all_suspects(inspection)))
    return write_text(folder / INSPECTION_PAGE, render_inspection(inspection, clips))


def suspects_csv(suspects: Sequence[Suspect]) -> str:
    """Return the rows as CSV (RFC 4180), with an empty column for the text as it should be.

    Example:
        >>> from whisper_peft.data.survey.findings import Reason
        >>> row = Suspect("a", "train", "/speech/a.wav", "Yes.", (Reason("noisy", "SNR about 3 dB"),))
        >>> print(suspects_csv((row,)).splitlines()[1])
        a,/speech/a.wav,Yes.,,check,noisy: SNR about 3 dB,,train,,,,,
    """
    target = io.StringIO()
    writer = csv.DictWriter(target, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for one in suspects:
        is_whole = one.end_s is None and not one.start_s
        writer.writerow(
            {
                "id": one.id,
                "audio": one.audio,
                "text": one.text,
                "action": one.action,
                "reasons": "; ".join(f"{reason.name}: {reason.detail}" for reason in one.reasons),
                "heard": one.heard,
                "split": one.split,
                "speaker_id": one.speaker_id,
                "language": one.language,
                "duration_s": one.duration_s,
                "start_s": None if is_whole else one.start_s,
                "end_s": one.end_s,
            }
        )
    return target.getvalue()


def render_inspection(inspection: Inspection, clips: Clips) -> str:
    """Return the page as HTML; every text in it is escaped."""
    templates = Environment(
        loader=PackageLoader("whisper_peft.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    played, listed = shown(inspection, clips)
    return templates.get_template("inspection.html").render(
        inspection=inspection,
        form=figures,
        sources=[(source, list(facts(source)), histograms(source)) for source in inspection.all_sources],
        verdict=verdict(inspection),
        concerns=concern_rows(inspection),
        leaks=[leak_sentence(leak) for source in inspection.all_sources for leak in source.leaks],
        played=played,
        listed=listed[:MOST_WITHOUT_CLIP],
        suspect_count=len(played) + len(listed),
        clips_bytes=sum(map(len, clips.values())),
        suspects_file=SUSPECTS_FILE,
    )


def shown(inspection: Inspection, clips: Clips) -> tuple[list[ShownSuspect], list[ShownSuspect]]:
    """Return the rows that can be played, and the others."""
    rows = [
        ShownSuspect(one, _data_uri(clips[one.split, one.id]) if (one.split, one.id) in clips else None)
        for one in all_suspects(inspection)
    ]
    return [row for row in rows if row.clip], [row for row in rows if not row.clip]


def histograms(inspection: Inspection) -> list[Histogram]:
    """Return the plots of what was measured."""
    audio, number, percent = inspection.audio, figures.short, figures.short_percent
    labels, listening = inspection.labels, inspection.listening
    drawn = (
        histogram("Durations", audio.durations_s, unit="seconds", print_value=number),
        histogram("Speaking rate", audio.letters_per_second, unit="letters a second", print_value=number),
        histogram("Label length", labels.tokens if labels else None, unit="tokens", print_value=number),
        histogram("Silence", audio.silence_share, unit="of a recording", print_value=percent),
        histogram("Signal-to-noise ratio, estimated", audio.snr_db, unit="dB", print_value=number),
        histogram("Clipping", audio.clipping_share, unit="of the samples", print_value=percent),
        histogram(
            "Loss of the text", listening.loss if listening else None, unit="nats a token", print_value=number
        ),
    )
    return [plot for plot in drawn if plot is not None]


def _data_uri(flac: bytes) -> str:
    return "data:audio/flac;base64," + base64.b64encode(flac).decode("ascii")
