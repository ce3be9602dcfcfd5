"""`compare`: several runs beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.commands.json_files import refuse_unwritable, write_json
from whisper_peft.flags import parse_command
from whisper_peft.terminal import show


@dataclass(frozen=True)
class Compare:
    """Put runs beside each other: rates, which differences are clear, costs, and the fields that differ."""

    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="RUN ...")] = ()
    """Run folders."""
    output_dir: Path | None = None
    """Folder for comparison.html, .md and .json. None: the first free runs/comparison."""
    json: Path | None = None
    """File to write everything to, beside comparison.json in the output folder."""


def run_compare(words: list[str]) -> None:
    """Put runs beside each other: which is better, how sure, and at what price."""
    command, _ = parse_command(Compare(), words, prog="whisper-peft compare")
    if command.json is not None:
        refuse_unwritable(command.json)
    comparison = whisper_peft.compare(command.runs, output_dir=command.output_dir)
    show(f"{comparison.text()}\n\n{Path(comparison.folder) / 'comparison.html'}")
    if command.json is not None:
        write_json(command.json, comparison.to_dict())
