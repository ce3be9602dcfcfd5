"""`doctor`: what this machine can do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import whisper_peft
from whisper_peft.commands.json_files import write_json
from whisper_peft.flags import parse_command
from whisper_peft.terminal import diagnosis_text, show


@dataclass(frozen=True)
class Doctor:
    """Try what this machine can do, and say what to install for the rest."""

    folder: Path = Path()
    """Where runs would be written; its disk is looked at."""
    json: Path | None = None
    """File to write the findings to."""


def run_doctor(words: list[str]) -> None:
    """Try what this machine can do, and say what to install for the rest."""
    command, _ = parse_command(Doctor(), words, prog="whisper-peft doctor")
    diagnosis = whisper_peft.doctor(folder=command.folder)
    if command.json is not None:
        write_json(command.json, diagnosis.to_dict())
    show(diagnosis_text(diagnosis))
