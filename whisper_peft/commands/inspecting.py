"""`inspect`: what lies at a path, how good it is, and which rows to drop or to check."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro import MISSING
from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.commands.json_files import refuse_unwritable, write_json
from whisper_peft.flags import parse_command
from whisper_peft.recipe.overrides import apply_overrides, tree_of
from whisper_peft.recipe.sections import DataSection, ModelSection, Recipe, Section
from whisper_peft.reporting.console.findings_text import inspection_text
from whisper_peft.terminal import is_main_process, show


class InspectFields(Section):
    """The sections that a look through speech reads."""

    data: DataSection = DataSection()
    model: ModelSection = ModelSection()


@dataclass(frozen=True)
class Inspect:
    """Look through speech before anything is learned from it, and say which rows to drop or to check."""

    source: Annotated[Positional[str], arg(metavar="SOURCE")]
    """A path of any known kind, a name on the Hub, or a recipe's YAML file, for all the speech it names."""
    decode: bool = True
    """Decode recordings. Without, only their headers are read."""
    listen: bool = False
    """Let the model of --model.name, or the run, hear each row, to find texts that it finds unlikely."""
    run: Path | None = None
    """A run folder whose model to take, and whose predictions to look at too."""
    max_rows: int | None = None
    """Rows of each split to look at: evenly drawn, but of a stream the first ones. None: all."""
    json: Path | None = None
    """File to write everything found to."""
    output_dir: Path | None = None
    """Folder for inspection.html with plots and playable rows, inspection.json and suspicious.csv."""
    fields: Annotated[InspectFields, arg(name="")] = field(default_factory=InspectFields)


def run_inspect(words: list[str]) -> None:
    """Say what lies at a path, how good the speech is, and which rows to drop or to check."""
    command, overrides = parse_command(Inspect(MISSING), words, prog="whisper-peft inspect")
    apply_overrides(Recipe(), overrides)
    if command.json is not None:
        refuse_unwritable(command.json)
    found = whisper_peft.inspect(
        command.source,
        decode=command.decode,
        listen=command.listen,
        run=command.run,
        max_rows=command.max_rows,
        output_dir=command.output_dir,
        **tree_of(overrides),
    )
    show(inspection_text(found))
    if command.output_dir is not None:
        show(f"\n{command.output_dir / 'inspection.html'}")
    if command.json is not None and is_main_process():
        write_json(command.json, found.to_dict())
