"""What a base model wrote of recordings, kept in the run folder by their content."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from whisper_peft.model.loading import Whisper
from whisper_peft.reporting.run_report import write_text

TRANSCRIPTS_FILE = "base_transcripts.jsonl"

MOST_KEPT = 500_000
"""Transcripts that are kept, of about 300 bytes each: what comes later is heard anew in each epoch."""


@dataclass
class TranscriptStore:
    """What a base model wrote of recordings, by their content: a JSON line each, in one file.

    A batch is added with one write, and a line that a crash left unfinished is cut off. The first line says
    which model it was: what another one wrote is dropped.

    Args:
        path: The file.
        base: What tells the model and how it listens.
        writes: Whether this process adds to the file; one of them does.
    """

    path: Path
    base: str
    writes: bool = True
    _kept: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        header = json.dumps({"base": self.base}) + "\n"
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.is_file() else ""
        whole = text[: text.rfind("\n") + 1] if text.startswith(header) else header
        if self.writes and whole != text:
            write_text(self.path, whole)
        for line in whole.split("\n")[1:-1]:
            row = json.loads(line)
            self._kept[row["recording"]] = row["text"]

    def find(self, recording: str) -> str | None:
        """Return what was written of a recording."""
        return self._kept.get(recording)

    def keep(self, transcripts: dict[str, str]) -> None:
        """Add what was written of several recordings."""
        room = MOST_KEPT - len(self._kept)
        unknown = [recording for recording in transcripts if recording not in self._kept]
        new = {recording: transcripts[recording] for recording in unknown[: max(room, 0)]}
        self._kept |= new
        if self.writes and new:
            rows = [{"recording": recording, "text": text} for recording, text in new.items()]
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def take_over_transcripts(folder: Path, earlier: Iterable[Path]) -> None:
    """Let a run begin with what the base wrote in earlier runs of the same speech, that with the most.

    Nothing happens where the run has transcripts, or none of the others. What another base wrote is dropped
    when the run opens them.

    Args:
        folder: The run folder; it is made where it is missing.
        earlier: Other run folders.
    """
    found = [path for run in earlier if (path := run / TRANSCRIPTS_FILE).is_file()]
    if not found or (folder / TRANSCRIPTS_FILE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    most = max(found, key=lambda path: (path.stat().st_size, path))
    shutil.copyfile(most, folder / TRANSCRIPTS_FILE)


def describe_base(whisper: Whisper) -> str:
    """Return what tells a model from all others: a digest of its weights, and how it computes."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(whisper.core.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return f"{digest.hexdigest()} {whisper.precision.name} {whisper.quantize}"
